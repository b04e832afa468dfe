"""Students of Marian as models of this family: what they compute, and what is refused."""

import copy
import json

import numpy as np
import pytest
import sentencepiece
import torch
from transformers import AutoModelForSeq2SeqLM

from hf_rnnattn.checkpoint import load_strict
from hf_rnnattn.convert.marian import model_from_marian
from hf_rnnattn.convert.marian_checkpoint import read_marian
from hf_rnnattn.model.written_tokens import FORBIDDEN
from students import MODEL, OPTIONS, SENTENCES, VOCABULARY, recorded, student


@pytest.fixture(scope="module")
def model():
    return model_from_marian(read_marian(MODEL))


@pytest.fixture(scope="module")
def pieces():
    return sentencepiece.SentencePieceProcessor(model_file=str(VOCABULARY))


def translations(model, pieces, *, batch_size=1, **options):
    """The sentences through ``generate``, in batches that are padded on the right."""
    pad, found = model.config.pad_token_id, []
    for at in range(0, len(SENTENCES), batch_size):
        sources = [torch.tensor([*pieces.encode(text), 0]) for text in SENTENCES[at : at + batch_size]]
        ids = torch.nn.utils.rnn.pad_sequence(sources, batch_first=True, padding_value=pad)
        output = model.generate(ids, attention_mask=ids != pad, **options)
        found += [pieces.decode([token for token in row if token not in (0, pad)]) for row in output.tolist()]
    return found


# What it computes


@pytest.mark.parametrize("batch_size", [1, 8])
def test_greedy_translations_are_those_of_marian(model, pieces, batch_size):
    assert translations(model, pieces, batch_size=batch_size) == recorded("marian.txt")


def test_translations_with_4_beams_are_those_of_marian(model, pieces):
    assert recorded("marian.beam4.txt") != recorded("marian.txt")
    assert translations(model, pieces, batch_size=8, num_beams=4) == recorded("marian.beam4.txt")


def naive(tensors, source, target, heads):
    """Marian's forward pass for one sentence in numpy and float64, straight from its formulas: logits (T, V)."""
    tensors = {name: values.astype(float) for name, values in tensors.items()}
    tables = [tensors.get(name, tensors.get("Wemb")) for name in ("encoder_Wemb", "decoder_Wemb")]
    width = tables[0].shape[1]

    def embed(table, ids):
        vectors = np.stack([np.zeros(width) if i is None else table[i] for i in ids]) * width**0.5
        for p, vector in enumerate(vectors):
            for c in range(width):
                half = width // 2
                vector[c] += np.sin(p * 1e-4 ** ((c % half) / (half - 1)) + (c // half) * np.pi / 2)
        return vectors

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * tensors[f"{name}_ln_scale"] + tensors[f"{name}_ln_bias"]

    def attend(x, memory, name):
        q, k, v = (
            y @ tensors[f"{name}_W{s}"] + tensors[f"{name}_b{s}"] for y, s in ((x, "q"), (memory, "k"), (memory, "v"))
        )
        parts = []
        for part in np.split(np.arange(width), heads):
            scores = np.exp(q[:, part] @ k[:, part].T / len(part) ** 0.5)
            parts.append(scores / scores.sum(-1, keepdims=True) @ v[:, part])
        y = np.concatenate(parts, -1) @ tensors[f"{name}_Wo"] + tensors[f"{name}_bo"]
        return norm(y + x, f"{name}_Wo")

    def feed(x, name):
        inner = np.maximum(x @ tensors[f"{name}_W1"] + tensors[f"{name}_b1"], 0)
        return norm(inner @ tensors[f"{name}_W2"] + tensors[f"{name}_b2"] + x, f"{name}_ffn")

    def recur(x, name):
        forget = 1 / (1 + np.exp(-(x @ tensors[f"{name}_Wf"] + tensors[f"{name}_bf"])))
        state, states = np.zeros(width), []
        for f, candidate in zip(forget, x @ tensors[f"{name}_W"], strict=True):
            state = f * state + (1 - f) * candidate
            states.append(np.maximum(state, 0))
        return norm(np.stack(states) + x, f"{name}_ffn")

    memory = embed(tables[0], source)
    for i in range(1, 1 + sum(name.startswith("encoder") and name.endswith("ffn_W1") for name in tensors)):
        memory = feed(attend(memory, memory, f"encoder_l{i}_self"), f"encoder_l{i}_ffn")
    x = embed(tables[1], [None, *target[:-1]])
    for i in range(1, 1 + sum(name.startswith("decoder") and name.endswith("ffn_W1") for name in tensors)):
        x = feed(attend(recur(x, f"decoder_l{i}_rnn"), memory, f"decoder_l{i}_context"), f"decoder_l{i}_ffn")
    return x @ tensors.get("decoder_ff_logit_out_Wt", tables[1]).T + tensors.get("decoder_ff_logit_out_b", 0)


VOCABULARIES = {
    "shared": {"shared": True},
    "of one size": {"shared": False},
    "smaller source": {"shared": False, "source_pieces": 12},
    "larger source": {"shared": False, "source_pieces": 20},
}


@pytest.mark.parametrize("vocabularies", VOCABULARIES)
@pytest.mark.parametrize("tied_output", [True, False])
@pytest.mark.parametrize("output_bias", [True, False])
def test_logits_are_those_of_marians_formulas(vocabularies, tied_output, output_bias):
    checkpoint = student(tied_output=tied_output, output_bias=output_bias, **VOCABULARIES[vocabularies])
    ours = model_from_marian(checkpoint).double()
    source, target = [3, 4, 5, 11, 0], [7, 2, 2, 9, 0]
    start = ours.config.decoder_start_token_id
    with torch.no_grad():
        logits = ours(torch.tensor([source]), decoder_input_ids=torch.tensor([[start, *target[:-1]]])).logits[0]
    expected = naive(checkpoint.tensors, source, target, heads=2)
    np.testing.assert_allclose(logits[:, :13], expected, atol=2e-6)  # positions are float32
    assert (logits[:, 13:] < FORBIDDEN / 2).all()
    pad = ours.config.pad_token_id
    assert pad == ours.config.encoder_vocab_size - 1 == ours.config.vocab_size - 1
    for side in (ours.get_encoder(), ours.get_decoder()):
        assert not side.get_input_embeddings().weight[pad].any()


def test_an_output_matrix_in_the_old_layout_is_the_same():
    new, old = student(tied_output=False), student(tied_output=False)
    old.tensors["decoder_ff_logit_out_W"] = old.tensors.pop("decoder_ff_logit_out_Wt").T
    assert torch.equal(model_from_marian(old).lm_head.weight, model_from_marian(new).lm_head.weight)
    old.tensors["decoder_ff_logit_out_W"] = np.zeros((8, 12), np.float32)
    with pytest.raises(ValueError, match=r"out_Wt .* must have shape \(13, 8\), got \(12, 8\)"):
        model_from_marian(old)


def test_what_fills_up_a_vocabulary_is_never_written():
    model = model_from_marian(student(shared=False, source_pieces=40))
    for search in ({}, {"num_beams": 4}, {"do_sample": True, "num_return_sequences": 20}):
        torch.manual_seed(0)
        written = {*model.generate(torch.tensor([[35, 39, 0]]), **search)[:, 1:].unique().tolist()}
        assert written - {model.config.pad_token_id} <= {*range(13)}


def test_log_probabilities_of_the_student_are_those_of_marians_formulas(model, pieces):
    tensors = read_marian(MODEL).tensors
    for text, translation in zip(SENTENCES[:5], recorded("marian.txt"), strict=False):
        source, target = [*pieces.encode(text), 0], [*pieces.encode(translation), 0]
        with torch.no_grad():
            ids = torch.tensor([[model.config.pad_token_id, *target[:-1]]])
            found = model(torch.tensor([source]), decoder_input_ids=ids).logits[0].log_softmax(-1)
        expected = torch.from_numpy(naive(tensors, source, target, heads=8)).log_softmax(-1)
        chosen = torch.tensor(target)[:, None]
        torch.testing.assert_close(
            found.gather(1, chosen).double(), expected.gather(1, chosen), rtol=0, atol=1e-3, check_dtype=False
        )


def test_tied_layers_have_the_weights_of_the_layer_they_name():
    checkpoint = student(transformer_tied_layers=[1, 2, 2, 1], dec_depth=4)
    layers = model_from_marian(checkpoint).model.decoder.layers
    for layer, same in ((2, 1), (3, 0)):
        for name, values in layers[layer].state_dict().items():
            assert torch.equal(values, layers[same].state_dict()[name])


def test_the_decoder_may_have_a_feed_forward_width_of_its_own():
    checkpoint = student(transformer_dim_ffn=12, transformer_decoder_dim_ffn=20)
    for layer in (1, 2):
        for name, shape in (("W1", (8, 20)), ("b1", (1, 20)), ("W2", (20, 8))):
            checkpoint.tensors[f"decoder_l{layer}_ffn_{name}"] = np.ones(shape, np.float32)
    config = model_from_marian(checkpoint).config
    assert (config.encoder_ffn_dim, config.decoder_ffn_dim) == (12, 20)


@pytest.mark.parametrize(("theirs", "ours"), [("relu", "relu"), ("swish", "silu")])
def test_the_activation_is_the_options(theirs, ours):
    assert model_from_marian(student(transformer_ffn_activation=theirs)).config.activation_function == ours


def test_absent_options_are_marians_defaults():
    checkpoint = student()
    for key in ("transformer-ffn-activation", "transformer-heads", "transformer-postprocess", "layer-normalization"):
        del checkpoint.options[key]
    config = model_from_marian(checkpoint).config
    assert (config.activation_function, config.encoder_attention_heads) == ("silu", 8)


def test_the_start_is_a_row_of_zeros_that_the_output_never_chooses(model):
    start = model.config.decoder_start_token_id
    assert start == model.config.pad_token_id == 1024 == model.config.vocab_size - 1
    assert not model.get_input_embeddings().weight[start].any()
    assert (
        model.lm_head.weight
        is model.get_input_embeddings().weight
        is model.model.decoder.get_input_embeddings().weight
    )
    with torch.no_grad():
        logits = model(torch.tensor([[5, 0]]), decoder_input_ids=torch.tensor([[start]])).logits
    assert logits.softmax(-1)[..., start].max() == 0


def test_unknown_and_padding_are_never_written(model):
    biased = copy.deepcopy(model)
    with torch.no_grad():
        biased.lm_head.bias[[1, model.config.pad_token_id]] = 1e6
    assert not {1, model.config.pad_token_id} & {*biased.generate(torch.tensor([[5, 6, 0]]))[0, 1:].tolist()}


def test_it_is_an_ordinary_checkpoint(model, pieces, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    assert json.loads((tmp_path / "generation_config.json").read_text())["max_length_factor"] == 2.0
    assert loaded.generation_config.max_length_factor == 2.0
    assert translations(loaded, pieces, batch_size=8) == recorded("marian.txt")
    assert load_strict(tmp_path).state_dict().keys() == model.state_dict().keys()


# What is refused

CHANGES = {
    "type": "s2s",
    "transformer-decoder-autoreg": "self-attention",
    "dec-cell": "gru",
    "transformer-preprocess": "n",
    "transformer-postprocess": "danr",
    "transformer-postprocess-emb": "n",
    "transformer-postprocess-top": "n",
    "transformer-ffn-activation": "gelu",
    "transformer-ffn-depth": 3,
    "transformer-decoder-ffn-depth": 1,
    "transformer-train-position-embeddings": True,
    "transformer-train-positions": True,
    "transformer-disable-position-embeddings": True,
    "transformer-no-projection": True,
    "transformer-pool": True,
    "transformer-rnn-projection": True,
    "transformer-no-bias": True,
    "transformer-no-affine": True,
    "layer-normalization": True,
    "right-left": True,
    "ulr": True,
    "input-types": ["sequence", "class"],
    "lemma-dim-emb": 32,
    "factors-dim-emb": 8,
    "lemma-dependency": "soft-transformer-layer",
    "transformer-heads": -2,
    "transformer-tied-layers": [1, 3],
    "dim-emb": 16,
    "enc-depth": 7,
    "dec-depth": 3,
    "transformer-dim-ffn": 99,
}


@pytest.mark.parametrize(("key", "value"), CHANGES.items(), ids=CHANGES.keys())
def test_an_option_without_a_counterpart_is_refused_with_its_value(key, value):
    checkpoint = student()
    checkpoint.options[key] = value
    with pytest.raises(ValueError, match=key) as error:
        model_from_marian(checkpoint)
    assert str(value) in str(error.value)


@pytest.mark.parametrize("key", ["type", "transformer-decoder-autoreg", "dec-cell"])
def test_an_absent_option_whose_default_has_no_counterpart_is_refused(key):
    checkpoint = student()
    del checkpoint.options[key]
    with pytest.raises(ValueError, match=rf"{key} is .*the default of Marian"):
        model_from_marian(checkpoint)


@pytest.mark.parametrize("value", ["an", "dan", "adn", "dand"])
def test_dropout_may_stand_anywhere(value):
    model_from_marian(student(transformer_postprocess=value, transformer_preprocess="d"))


def test_options_that_a_student_does_not_read_may_say_anything():
    ignored = {"dim_rnn": 7, "enc_cell": "lstm", "transformer_aan_depth": 9, "bert_type_vocab_size": 3}
    model_from_marian(student(**ignored))
    assert OPTIONS["dim-rnn"] != 7


def test_missing_and_unknown_weights_are_both_named():
    checkpoint = student()
    del checkpoint.tensors["decoder_l2_rnn_Wf"]
    checkpoint.tensors["Wpos"] = np.zeros((4, 8), np.float32)
    with pytest.raises(ValueError, match=r"missing: decoder_l2_rnn_Wf; not understood: Wpos"):
        model_from_marian(checkpoint)


def test_a_weight_of_another_shape_is_named():
    checkpoint = student()
    checkpoint.tensors["encoder_l1_self_Wk"] = np.zeros((8, 9), np.float32)
    with pytest.raises(ValueError, match=r"encoder_l1_self_Wk .* must have shape \(8, 8\), got \(8, 9\)"):
        model_from_marian(checkpoint)


def test_a_layer_that_is_missing_in_between_is_named():
    checkpoint = student()
    for name in [name for name in checkpoint.tensors if name.startswith("decoder_l1_")]:
        del checkpoint.tensors[name]
    with pytest.raises(ValueError, match=r"numbered from 1, got \[2\]"):
        model_from_marian(checkpoint)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match=r"a student: encoder_hidden_size \(8\) .* encoder_attention_heads \(3\)"):
        model_from_marian(student(transformer_heads=3))


@pytest.mark.parametrize("ids", [{"eos_token_id": 13}, {"unk_token_id": -1}])
def test_ids_outside_of_the_vocabulary_are_refused(ids):
    with pytest.raises(ValueError, match=next(iter(ids))):
        model_from_marian(student(), **ids)
