"""The multipliers of 8-bit activations: what they are, and what engines make of them."""

import fxtranslate
import numpy as np
import pytest
import torch

from bergamot import bergamot, install_bergamot
from hf_rnnattn.convert.marian import model_from_marian
from hf_rnnattn.convert.marian_alphas import measure_alphas
from hf_rnnattn.convert.marian_binary import read_binary
from hf_rnnattn.convert.marian_checkpoint import read_marian
from hf_rnnattn.convert.marian_export import export_marian, table_of
from hf_rnnattn.convert.sentencepiece_tokenizer import tokenizer_from_sentencepiece
from hf_rnnattn.convert.sentencepiece_vocabulary import read_sentencepiece
from students import MODEL, SENTENCES, SHORTLIST, VOCABULARY, recorded, student


@pytest.fixture(scope="module")
def model():
    return model_from_marian(read_marian(MODEL))


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_from_sentencepiece(read_sentencepiece(VOCABULARY))


@pytest.fixture(scope="module")
def alphas(model, tokenizer):
    return measure_alphas(model, tokenizer, SENTENCES, table_of(model.config))


@pytest.fixture(scope="module")
def files(model, alphas, tmp_path_factory):
    """The model in float32, in 8 bits, and in 8 bits with the multipliers that it came with."""
    folder = tmp_path_factory.mktemp("exported")
    original = {name: values for name, values in read_binary(MODEL.read_bytes(), "").items() if "QuantMultA" in name}
    export_marian(model, folder / "model.bin")
    export_marian(model, folder / "model.intgemm.alphas.bin", alphas)
    export_marian(model, folder / "original.intgemm.alphas.bin", original)
    return folder


def alpha(largest):
    """Straight from the definition."""
    mean = sum(largest) / len(largest)
    return 127 / (mean + 1.1 * (sum((value - mean) ** 2 for value in largest) / len(largest)) ** 0.5)


def test_a_multiplier_is_that_of_the_largest_inputs_of_its_matrix(model, tokenizer, alphas):
    embedded, steps = [], []
    for sentence in SENTENCES:
        source = torch.tensor([tokenizer(sentence).input_ids])
        with torch.no_grad():
            embedded.append(
                model.get_encoder().embeddings(source, None, None, torch.arange(source.shape[1])[None], None)
            )
            output = model.generate(source, output_hidden_states=True, return_dict_in_generate=True)
        steps += [hidden[-1] for hidden in output.decoder_hidden_states]
    expected = {
        "encoder_l1_self_Wq": alpha([x.abs().max().item() for x in embedded]),
        "none": alpha([x.abs().max().item() for x in steps]),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(alphas[f"{name}_QuantMultA"].item(), value, rtol=1e-5)


def test_multipliers_are_near_those_that_the_student_came_with(alphas):
    """Those were measured on other sentences."""
    original = {name: values for name, values in read_binary(MODEL.read_bytes(), "").items() if "QuantMultA" in name}
    assert alphas.keys() == original.keys()
    for name, values in alphas.items():
        assert values.shape == (1, 1)
        np.testing.assert_allclose(values.ravel(), original[name].ravel(), rtol=0.12, err_msg=name)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"Wemb_QuantMultA", "none_QuantMultA"}),
        ({"shared": False}, {"decoder_Wemb_QuantMultA"}),
    ],
)
def test_the_output_matrix_has_the_multipliers_of_its_kind(tokenizer, options, names):
    model = model_from_marian(student(pieces=1024, **options))
    found = measure_alphas(model, tokenizer, ["a b c"], table_of(model.config))
    assert {name for name in found if "_l1_" not in name and "_l2_" not in name} == names
    assert found["decoder_l1_rnn_W_QuantMultA"] == found["decoder_l1_rnn_Wf_QuantMultA"]


def test_measuring_leaves_no_hooks(model, tokenizer):
    with pytest.raises(ValueError, match="at least one sentence"):
        measure_alphas(model, tokenizer, ["", " "], table_of(model.config))
    measure_alphas(model, tokenizer, SENTENCES[:1], table_of(model.config))
    assert not any(module._forward_pre_hooks for module in model.modules())


def same(texts, others):
    return sum(text == other for text, other in zip(texts, others, strict=True))


def check_8_bits(ours, original, file, exact):
    """8-bit arithmetic rounds every product: some texts change, with the original's multipliers as with ours."""
    assert original == file
    assert same(ours, exact) >= same(file, exact) - 4
    assert same(ours, exact) > len(exact) / 2


def test_another_engine_translates_in_8_bits_as_well_as_with_the_students_own_multipliers(files):
    vocabulary = VOCABULARY.read_bytes()

    def translate(path):
        engine = fxtranslate.Translator(model=path.read_bytes(), src_vocab=vocabulary, trg_vocab=vocabulary)
        return [engine.translate(sentence) for sentence in SENTENCES]

    names = ("model.intgemm.alphas.bin", "original.intgemm.alphas.bin")
    check_8_bits(*(translate(files / name) for name in names), translate(MODEL), translate(files / "model.bin"))


@pytest.mark.slow
def test_bergamot_translates_what_is_exported(files, tmp_path):
    folder = install_bergamot(tmp_path)
    exact = bergamot(folder, SENTENCES, files / "model.bin", VOCABULARY)
    assert exact == recorded("marian.txt")
    with_shortlist = bergamot(folder, SENTENCES, files / "model.bin", VOCABULARY, shortlist=SHORTLIST)
    assert with_shortlist == recorded("marian.shortlist.txt")
    names = (files / "model.intgemm.alphas.bin", files / "original.intgemm.alphas.bin", MODEL)
    found = [bergamot(folder, SENTENCES, name, VOCABULARY, precision="int8shiftAlphaAll") for name in names]
    check_8_bits(*found, exact)
