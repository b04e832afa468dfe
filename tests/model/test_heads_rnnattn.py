"""The heads on the encoder alone: padding, losses, checkpoints shared with encoder-decoders, and that they learn."""

from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch.testing import assert_close

from hf_rnnattn import RnnAttnEncoderModel, RnnAttnForConditionalGeneration
from hf_rnnattn.model.loss_rnnattn import classification_loss
from model_zoo import ENCODER_MIXERS, batch, build, tiny_config

EXACT = {"rtol": 0.0, "atol": 1e-12}
AUTO = {
    "AutoModelForMaskedLM": "RnnAttnForMaskedLM",
    "AutoModelForSequenceClassification": "RnnAttnForSequenceClassification",
    "AutoModelForTokenClassification": "RnnAttnForTokenClassification",
    "AutoModelForQuestionAnswering": "RnnAttnForQuestionAnswering",
    "AutoModelForTextEncoding": "RnnAttnEncoderModel",
}
LABELLED = [name for name in AUTO if name != "AutoModelForTextEncoding"]
ENCODERS: dict[str, dict[str, Any]] = {
    **{name: {"encoder_mixers": [name, name]} for name in ENCODER_MIXERS},
    "composite": {"encoder_mixers": ["gru+full_attention", "full_attention+ssru"]},
    "backward": {"encoder_mixers": ["lstm"], "encoder_directions": "backward"},
    "widths": {"embedding_size": 10, "encoder_hidden_size": 12, "encoder_vocab_size": 19},
}
each_auto = pytest.mark.parametrize("auto", AUTO)
each_encoder = pytest.mark.parametrize("encoder", ENCODERS)


def head(auto: str, seed: int = 0, **overrides: Any) -> Any:
    torch.manual_seed(seed)
    model = getattr(transformers, auto).from_config(tiny_config(num_labels=3, **overrides)).eval().double()
    assert type(model).__name__ == AUTO[auto]
    return model


def source(model: Any) -> dict[str, torch.Tensor]:
    whole = batch(model.config)
    return {key: whole[key] for key in ("input_ids", "attention_mask")}


def labels_of(auto: str, model: Any) -> dict[str, torch.Tensor]:
    """Labels for the three rows of ``source``; every batch has some that are ignored."""
    generator = torch.Generator().manual_seed(4)
    if auto == "AutoModelForQuestionAnswering":
        return {"start_positions": torch.tensor([1, 0, 9]), "end_positions": torch.tensor([3, 4, -1])}
    if auto == "AutoModelForSequenceClassification":
        return {"labels": torch.tensor([2, 0, 1])}
    size = model.config.encoder_vocab_size if auto == "AutoModelForMaskedLM" else 3
    labels = torch.randint(0, size, (3, 7), generator=generator)
    labels[0, 2:5] = -100
    return {"labels": labels.masked_fill(source(model)["attention_mask"] == 0, -100)}


def first_outputs(outputs: Any) -> dict[str, torch.Tensor]:
    return {key: value for key, value in outputs.items() if key.endswith("logits") or key == "last_hidden_state"}


@each_auto
@each_encoder
def test_a_row_gives_alone_what_it_gives_among_padded_ones(auto: str, encoder: str) -> None:
    model = head(auto, **ENCODERS[encoder])
    whole = source(model)
    outputs = first_outputs(model(**whole))
    for row, mask in enumerate(whole["attention_mask"].bool()):
        alone = first_outputs(model(input_ids=whole["input_ids"][row, mask][None]))
        for name, value in outputs.items():
            one = value[row] if value.shape[1] == 3 and name == "logits" and value.dim() == 2 else value[row][mask]
            assert_close(one, alone[name][0], **EXACT)


@pytest.mark.parametrize("auto", LABELLED)
def test_what_stands_in_the_padding_reaches_neither_loss_nor_gradients(auto: str) -> None:
    model = head(auto)
    inputs = source(model)
    vectors = model.get_input_embeddings()(inputs["input_ids"]).detach()
    hidden = inputs["attention_mask"] == 0
    found = []
    for filler in (0.0, float("nan")):
        filled = vectors.masked_fill(hidden[..., None], filler).requires_grad_()
        loss = model(inputs_embeds=filled, attention_mask=inputs["attention_mask"], **labels_of(auto, model)).loss
        found.append((loss, torch.autograd.grad(loss, filled)[0]))
    assert_close(found[0][0], found[1][0], **EXACT)
    assert_close(found[0][1], found[1][1], **EXACT)
    assert (found[1][1][hidden] == 0).all()


@pytest.mark.parametrize("auto", [name for name in LABELLED if name != "AutoModelForQuestionAnswering"])
def test_micro_batches_sum_to_the_whole_batch(auto: str) -> None:
    model = head(auto)
    inputs = {**source(model), **labels_of(auto, model)}
    count = int((inputs["labels"] != -100).sum())
    parts = [
        model(**{key: value[row : row + 1] for key, value in inputs.items()}, num_items_in_batch=count).loss
        for row in range(3)
    ]
    assert_close(sum(parts), model(**inputs).loss, **EXACT)


@pytest.mark.parametrize(
    ("labels", "num_labels", "problem_type", "loss"),
    [
        (torch.tensor([2, 0, 1]), 3, "single_label_classification", nn.functional.cross_entropy),
        (torch.tensor([0.5, -1.0, 2.0]), 1, "regression", lambda a, b: nn.functional.mse_loss(a[:, 0], b)),
        (torch.eye(3), 3, "multi_label_classification", nn.functional.binary_cross_entropy_with_logits),
    ],
)
def test_the_kind_of_labels_chooses_the_loss(labels: Any, num_labels: int, problem_type: str, loss: Any) -> None:
    torch.manual_seed(0)
    config = tiny_config(num_labels=num_labels)
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval().double()
    inputs = source(model)
    outputs = model(**inputs, labels=labels)
    wanted = loss(outputs.logits, labels.double() if labels.is_floating_point() else labels)
    assert_close(outputs.loss, wanted, **EXACT)
    assert model.config.problem_type == problem_type
    assert config.problem_type is None
    halves = [
        model(
            **{key: value[part] for key, value in inputs.items()},
            labels=labels[part],
            num_items_in_batch=labels.numel(),
        )
        for part in (slice(0, 1), slice(1, 3))
    ]
    assert_close(halves[0].loss + halves[1].loss, wanted, **EXACT)


def test_labels_that_do_not_fit_the_problem_are_refused() -> None:
    model = head("AutoModelForSequenceClassification", problem_type="multi_label_classification")
    with pytest.raises(ValueError, match="labels must be 9 numbers, as the logits, got 3"):
        model(**source(model), labels=torch.ones(3))
    with pytest.raises(
        ValueError, match=r"problem_type must be one of single_label_classification, .* got 'guessing'"
    ):
        classification_loss(torch.ones(3, 3), torch.ones(3), "guessing")


def test_answers_outside_of_the_sequence_are_ignored() -> None:
    model = head("AutoModelForQuestionAnswering")
    inputs = source(model)
    outputs = model(**inputs, start_positions=torch.tensor([1, 7, -1]), end_positions=torch.tensor([2, 99, 3]))
    starts = nn.functional.cross_entropy(outputs.start_logits[:1], torch.tensor([1]))
    ends = nn.functional.cross_entropy(outputs.end_logits[[0, 2]], torch.tensor([2, 3]))
    assert_close(outputs.loss, (starts + ends) / 2, **EXACT)
    nowhere = torch.full((3,), 50)
    assert model(**inputs, start_positions=nowhere, end_positions=nowhere).loss.item() == 0.0


@each_auto
@each_encoder
def test_a_head_and_an_encoder_decoder_initialise_each_other(auto: str, encoder: str, tmp_path: Any) -> None:
    seq2seq = build(tiny_config(num_labels=3, **ENCODERS[encoder]))
    seq2seq.save_pretrained(tmp_path / "seq2seq")
    loaded = getattr(transformers, auto).from_pretrained(tmp_path / "seq2seq")
    for name, weight in seq2seq.model.encoder.state_dict().items():
        assert torch.equal(loaded.get_encoder().state_dict()[name], weight)
    assert not loaded.config.is_encoder_decoder
    loaded.save_pretrained(tmp_path / "again")
    again, report = getattr(transformers, auto).from_pretrained(tmp_path / "again", output_loading_info=True)
    assert not report["missing_keys"]
    for name, weight in loaded.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight)
    other = head(auto, seed=5, **ENCODERS[encoder]).float()
    other.save_pretrained(tmp_path / "head")
    back = RnnAttnForConditionalGeneration.from_pretrained(tmp_path / "head")
    for name, weight in other.get_encoder().state_dict().items():
        assert torch.equal(back.model.encoder.state_dict()[name], weight)
    assert back.config.is_encoder_decoder


@each_auto
def test_saving_and_loading_changes_nothing(auto: str, tmp_path: Any) -> None:
    model = head(auto).float()
    model.save_pretrained(tmp_path)
    loaded, report = getattr(transformers, auto).from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    for (name, value), other in zip(
        first_outputs(model(**source(model))).items(),
        first_outputs(loaded.eval()(**source(model))).values(),
        strict=True,
    ):
        assert_close(other, value, rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize("shared", [True, False])
def test_masked_tokens_are_scored_with_the_sources_table_and_resized_with_it(shared: bool) -> None:
    model = head("AutoModelForMaskedLM", share_encoder_decoder_embeddings=shared)
    inputs = source(model)
    before = model(**inputs).logits
    assert model.mlm_head.weight is model.get_input_embeddings().weight
    model.resize_token_embeddings(31)
    assert model.mlm_head.weight is model.get_input_embeddings().weight
    after = model(**inputs).logits
    assert after.shape[-1] == model.config.encoder_vocab_size == 31
    assert model.config.vocab_size == (31 if shared else 23)
    assert_close(after[..., :23], before, **EXACT)
    untied = head("AutoModelForMaskedLM", tie_word_embeddings=False)
    assert untied.mlm_head.weight is not untied.get_input_embeddings().weight


def test_one_config_serves_models_of_every_kind() -> None:
    config = tiny_config()
    before = config.to_dict()
    for auto in [*AUTO, "AutoModelForCausalLM"]:
        getattr(transformers, auto).from_config(config)
    RnnAttnEncoderModel(config)
    assert config.to_dict() == before
    assert config.is_encoder_decoder


@pytest.mark.parametrize("auto", LABELLED)
def test_heads_learn_a_batch_by_heart_and_every_parameter_has_a_part_in_it(auto: str) -> None:
    model = head(
        auto, encoder_mixers=["gru+full_attention", "ssru"], type_vocab_size=0, max_position_embeddings=7
    ).train()
    inputs = {**source(model), **labels_of(auto, model)}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    untouched = {name for name, _ in model.named_parameters()}
    for _ in range(60):
        loss = model(**inputs).loss
        loss.backward()
        untouched -= {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 0.1
    assert not untouched
