"""Embeddings: a sum of three tables, positions that do not count padding, and nothing of what stands in padding."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from hf_rnnattn.model.embeddings import RnnAttnEmbeddings, SinusoidalPositions
from model_zoo import batch, tiny_model

ROWS, T, VOCABULARY, WIDTH = 3, 5, 11, 6
POSITIONS = ["learned", "sinusoidal", "none"]


def embeddings(**overrides: Any) -> RnnAttnEmbeddings:
    """Seeded embeddings in float64, without norm and dropout."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "embedding_size": WIDTH,
        "type_vocab_size": 2,
        "position_embedding": "learned",
        "max_position_embeddings": 9,
        "pad_token_id": 0,
        "norm_type": None,
        "norm_eps": 1e-5,
        "scale": False,
        "dropout": 0.0,
    }
    return RnnAttnEmbeddings(**{**arguments, **overrides}).double()


def example() -> tuple[Tensor, Tensor, Tensor]:
    """Ids, segments and positions, (B, T) each."""
    ids = torch.arange(1, 1 + T).repeat(ROWS, 1)
    segments = torch.tensor([[0, 0, 1, 1, 1]] * ROWS)
    positions = torch.arange(T).repeat(ROWS, 1)
    return ids, segments, positions


def sinusoid(position: int, channel: int, width: int) -> float:
    """One entry of the table, in float64: sines in the first half of the channels, cosines in the second."""
    half = width // 2
    rate = 10000.0 ** (-(channel % half) / max(half - 1, 1))
    return math.sin(position * rate) if channel < half else math.cos(position * rate)


# --- the sum ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", POSITIONS)
@pytest.mark.parametrize("scale", [True, False])
def test_the_embedding_is_token_plus_position_plus_segment(kind: str, scale: bool) -> None:
    module = embeddings(position_embedding=kind, scale=scale)
    ids, segments, positions = example()
    got = module(ids, None, segments, positions, None)
    for row in range(ROWS):
        for t in range(T):
            want = module.word_embeddings.weight[ids[row, t]] * (math.sqrt(WIDTH) if scale else 1.0)
            want = want + module.token_type_embeddings.weight[segments[row, t]]
            if kind == "learned":
                want = want + module.position_embeddings.weight[t]
            elif kind == "sinusoidal":
                want = want + torch.tensor([sinusoid(t, c, WIDTH) for c in range(WIDTH)], dtype=torch.float64)
            torch.testing.assert_close(got[row, t], want, rtol=0.0, atol=1e-6 if kind == "sinusoidal" else 1e-14)


def test_a_norm_follows_the_sum() -> None:
    plain, normed = embeddings(), embeddings(norm_type="layer_norm")
    ids, segments, positions = example()
    total = plain(ids, None, segments, positions, None)
    want = torch.nn.functional.layer_norm(total, (WIDTH,), eps=1e-5)
    torch.testing.assert_close(normed(ids, None, segments, positions, None), want, rtol=0.0, atol=1e-14)


def test_dropout_is_for_training_only() -> None:
    module = embeddings(dropout=0.5)
    ids, segments, positions = example()
    dropped = module(ids, None, segments, positions, None)
    assert (dropped == 0).any()
    assert not (module.eval()(ids, None, segments, positions, None) == 0).any()


def test_segments_default_to_the_first() -> None:
    module = embeddings()
    ids, segments, positions = example()
    default = module(ids, None, None, positions, None)
    assert torch.equal(default, module(ids, None, torch.zeros_like(segments), positions, None))
    assert not torch.equal(default, module(ids, None, segments, positions, None))


def test_segments_without_a_table_are_refused() -> None:
    ids, segments, positions = example()
    module = embeddings(type_vocab_size=0)
    with pytest.raises(ValueError, match="token_type_ids were given, but type_vocab_size is 0"):
        module(ids, None, segments, positions, None)
    assert module.token_type_embeddings is None


def test_vectors_take_the_place_of_the_token_table() -> None:
    module = embeddings(scale=True)
    ids, segments, positions = example()
    vectors = module.word_embeddings(ids)
    mask = torch.tensor([[True] * T, [True] * 3 + [False] * 2, [False] * T])
    for given in (None, mask):
        by_ids = module(ids, None, segments, positions, given)
        assert torch.equal(module(None, vectors, segments, positions, given), by_ids)


# --- sinusoidal positions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 4, 10, 64])
def test_sinusoidal_positions_are_their_formula(width: int) -> None:
    positions = torch.tensor([[0, 1, 2, 100], [7, 1023, 8191, 3]])
    got = SinusoidalPositions(width)(positions)
    want = torch.tensor([[[sinusoid(int(p), c, width) for c in range(width)] for p in row] for row in positions])
    torch.testing.assert_close(got, want, rtol=0.0, atol=1e-3)  # float32: 8191 radians are known to 5e-4
    torch.testing.assert_close(got[0, :3], want[0, :3], rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_neighbouring_positions_differ_in_half_precision(dtype: torch.dtype) -> None:
    positions = torch.tensor([[1000, 1001]])
    exact = SinusoidalPositions(WIDTH)(positions)
    halved = SinusoidalPositions(WIDTH).to(dtype)(positions)
    torch.testing.assert_close(halved, exact, rtol=0.0, atol=1e-6)


def test_a_model_in_half_precision_reads_the_same_positions() -> None:
    model = tiny_model(encoder_position_embedding="sinusoidal")
    seen = []
    table = model.model.encoder.embeddings.position_embeddings
    table.register_forward_hook(lambda module, args, output: seen.append(output.float()))
    inputs = batch(model.config)
    model(**inputs)
    model.to(torch.bfloat16)(**inputs)
    assert torch.equal(seen[0], seen[1])


# --- padding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["learned", "sinusoidal"])
def test_positions_do_not_count_padding(kind: str) -> None:
    model = tiny_model(encoder_position_embedding=kind, encoder_mixers=["full_attention"])
    ids = torch.tensor([[5, 6, 7, 8]])
    want = model.model.encoder(input_ids=ids).last_hidden_state
    for padded, mask in (
        ([[5, 6, 7, 8, 0, 0]], [[1, 1, 1, 1, 0, 0]]),
        ([[0, 0, 5, 6, 7, 8]], [[0, 0, 1, 1, 1, 1]]),
        ([[0, 5, 6, 0, 7, 8]], [[0, 1, 1, 0, 1, 1]]),
    ):
        real = torch.tensor(mask)
        got = model.model.encoder(input_ids=torch.tensor(padded), attention_mask=real).last_hidden_state
        torch.testing.assert_close(got[:, real[0].bool()], want, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("norm_type", ["layer_norm", "rms_norm", None])
@pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), 1e30])
def test_what_stands_in_padded_vectors_reaches_neither_outputs_nor_gradients(
    norm_type: str | None, rubbish: float
) -> None:
    norm = {"embedding_norm": False} if norm_type is None else {"norm_type": norm_type}
    model = tiny_model(encoder_mixers=["gru+full_attention", "ssru"], decoder_mixers=["bahdanau_gru", "lstm"], **norm)
    inputs = batch(model.config)
    ids, mask = inputs.pop("input_ids"), inputs["attention_mask"]
    clean = model.get_input_embeddings()(ids).detach()
    dirty = torch.where(mask[..., None].bool(), clean, rubbish).requires_grad_()
    logits = model(inputs_embeds=dirty, **inputs).logits
    assert torch.equal(logits, model(inputs_embeds=clean, **inputs).logits)
    logits.sum().backward()
    assert (dirty.grad[mask == 0] == 0).all()
    assert (dirty.grad[mask == 1] != 0).any()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_what_stands_in_padded_targets_reaches_neither_outputs_nor_gradients() -> None:
    model = tiny_model(decoder_mixers=["gru", "full_attention"], decoder_position_embedding="learned")
    inputs = batch(model.config)
    vectors = model.model.decoder.get_input_embeddings()(inputs.pop("decoder_input_ids")).detach()
    mask = torch.ones(vectors.shape[:2], dtype=torch.long)
    mask[0, :2] = mask[1, 2] = mask[2, -1] = 0
    real = mask.bool()
    dirty = torch.where(real[..., None], vectors, float("nan")).requires_grad_()
    logits = model(decoder_inputs_embeds=dirty, decoder_attention_mask=mask, **inputs).logits
    clean = model(decoder_inputs_embeds=vectors, decoder_attention_mask=mask, **inputs).logits
    assert torch.equal(logits[real], clean[real])
    logits[real].sum().backward()
    assert (dirty.grad[~real] == 0).all()
    assert dirty.grad.isfinite().all()


def test_ids_in_padding_are_not_read() -> None:
    model = tiny_model()
    inputs = batch(model.config)
    want = model(**inputs).logits
    ids = torch.where(inputs["attention_mask"] == 0, 9, inputs["input_ids"])
    assert torch.equal(model(**{**inputs, "input_ids": ids}).logits, want)


# --- through the model -----------------------------------------------------------------------------------------------


def test_vectors_of_the_table_equal_ids() -> None:
    model = tiny_model(scale_embedding=True)
    inputs = batch(model.config)
    want = model(**inputs).logits
    inputs["inputs_embeds"] = model.get_input_embeddings()(inputs.pop("input_ids"))
    assert torch.equal(model(**inputs).logits, want)
    target = inputs.pop("decoder_input_ids")
    inputs["decoder_inputs_embeds"] = model.model.decoder.get_input_embeddings()(target)
    assert torch.equal(model(**inputs).logits, want)


@pytest.mark.parametrize("side", ["", "decoder_"])
def test_ids_and_vectors_together_or_neither_are_refused(side: str) -> None:
    model = tiny_model()
    inputs = batch(model.config)
    ids = inputs[f"{side}input_ids"]
    with pytest.raises(
        ValueError, match=f"exactly one of {side}input_ids and {side}inputs_embeds must be given, got 2"
    ):
        model(**inputs, **{f"{side}inputs_embeds": model.get_input_embeddings()(ids)})
    if side == "decoder_":
        return  # without a target the source is one: test_wrong_inputs
    del inputs[f"{side}input_ids"]
    with pytest.raises(
        ValueError, match=f"exactly one of {side}input_ids and {side}inputs_embeds must be given, got 0"
    ):
        model(**inputs)


@pytest.mark.parametrize("side", ["source", "target"])
def test_more_positions_than_a_learned_table_has_are_refused(side: str) -> None:
    model = tiny_model(max_position_embeddings=512, decoder_position_embedding="learned")
    short, long = torch.full((1, 4), 5), torch.full((1, 600), 5)
    ids = {"input_ids": long, "decoder_input_ids": short}
    if side == "target":
        ids = {"input_ids": short, "decoder_input_ids": long}
    with pytest.raises(ValueError, match=f"{side} length 600 exceeds max_position_embeddings 512"):
        model(**ids)
    exact = {name: value[:, :512] for name, value in ids.items()}
    assert model(**exact).logits.isfinite().all()


@pytest.mark.parametrize("kind", ["none", "sinusoidal"])
def test_positions_without_a_table_have_no_limit(kind: str) -> None:
    model = tiny_model(
        encoder_position_embedding=kind,
        decoder_position_embedding=kind,
        encoder_mixers=["ssru"],
        decoder_mixers=["ssru"],
        max_position_embeddings=8,
    )
    with torch.no_grad():
        logits = model(input_ids=torch.randint(3, 20, (1, 8192)), decoder_input_ids=torch.tensor([[1, 5] * 20])).logits
    assert logits.isfinite().all()


@pytest.mark.parametrize("side", ["", "decoder_"])
def test_segments_change_the_output_on_each_side(side: str) -> None:
    model = tiny_model()
    inputs = batch(model.config)
    want = model(**inputs).logits
    first = torch.zeros_like(inputs[f"{side}input_ids"])
    assert torch.equal(model(**inputs, **{f"{side}token_type_ids": first}).logits, want)
    assert not torch.allclose(model(**inputs, **{f"{side}token_type_ids": 1 - first}).logits, want)


@pytest.mark.parametrize("tied", [True, False])
def test_the_row_of_padding_starts_at_zero(tied: bool) -> None:
    model = tiny_model(pad_token_id=3, tie_word_embeddings=tied)
    for table in (model.get_input_embeddings(), model.model.decoder.get_input_embeddings()):
        assert (table.weight[3] == 0).all()
        assert (table.weight[4] != 0).all()


def test_the_row_of_padding_is_not_trained() -> None:
    model = tiny_model(pad_token_id=3, tie_word_embeddings=False)
    ids = torch.tensor([[3, 4]])
    model(input_ids=ids, decoder_input_ids=ids).logits.square().sum().backward()
    gradient = model.get_input_embeddings().weight.grad
    assert (gradient[3] == 0).all()
    assert (gradient[4] != 0).any()
