"""8-bit weights that stay in 8 bits: the file's integers, what they compute, and how they are saved."""

import copy
import sys

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torchao.quantization import Int8Tensor
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from hf_rnnattn.convert.marian import model_from_marian
from hf_rnnattn.convert.marian_8bit import keep_8_bits
from hf_rnnattn.convert.marian_checkpoint import read_marian
from hf_rnnattn.convert.marian_export import export_marian, table_of
from hf_rnnattn.convert.marian_folder import convert_marian
from students import MODEL, SENTENCES, VOCABULARY, recorded, student


@pytest.fixture(scope="module")
def model():
    return model_from_marian(read_marian(MODEL))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The student converted to float32, and with its 8 bits kept."""
    folder = tmp_path_factory.mktemp("converted")
    convert_marian(MODEL, VOCABULARY, output=folder / "float32")
    convert_marian(MODEL, VOCABULARY, output=folder / "int8", keep_8bit=True)
    return folder


def load(folder):
    return AutoModelForSeq2SeqLM.from_pretrained(folder)


def in_8_bits(model):
    return {name for name, weight in model.named_parameters() if isinstance(weight, Int8Tensor)}


def test_every_matrix_has_the_integers_of_the_file_and_stands_for_its_values(model, folders):
    loaded = load(folders / "int8")
    assert in_8_bits(loaded) == {weight.target for weight in table_of(model.config) if weight.form == "matrix"}
    for name, weight in model.named_parameters():
        found = loaded.get_parameter(name)
        if isinstance(found, Int8Tensor):
            assert found.qdata.dtype == torch.int8
            assert found.qdata.abs().max() == 127
            assert torch.equal(found.dequantize(), weight), name
        else:
            assert torch.equal(found, weight), name


def test_matrices_that_are_one_of_ours_keep_a_multiplier_each(folders):
    gates = load(folders / "int8").model.decoder.layers[0].mixers[0].input_to_gates
    candidate, forget = gates.weight.scale.chunk(2)
    assert len(candidate.unique()) == len(forget.unique()) == 1
    assert candidate[0] != forget[0]


def test_logits_are_those_of_the_float_model_but_for_rounding(model, folders):
    loaded, tokenizer = load(folders / "int8"), AutoTokenizer.from_pretrained(folders / "int8")
    batch = tokenizer(SENTENCES[:4], text_target=recorded("marian.txt")[:4], padding=True, return_tensors="pt")
    with torch.no_grad():
        found, expected = (one(**batch).logits for one in (loaded, model))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_translations_are_those_of_marian(folders):
    loaded, tokenizer = load(folders / "int8"), AutoTokenizer.from_pretrained(folders / "int8")
    found = []
    for at in range(0, len(SENTENCES), 8):
        batch = tokenizer(SENTENCES[at : at + 8], padding=True, return_tensors="pt")
        found += tokenizer.batch_decode(loaded.generate(**batch), skip_special_tokens=True)
    assert found == recorded("marian.txt")


def test_the_folder_is_smaller(folders):
    sizes = [(folders / kind / "model.safetensors").stat().st_size for kind in ("int8", "float32")]
    assert sizes[0] < 0.5 * sizes[1]


@pytest.mark.parametrize("name", ["model.bin", "model.intgemm8.bin"])
def test_it_goes_back_to_the_weights_of_the_file(folders, name, tmp_path):
    export_marian(load(folders / "int8"), tmp_path / name)
    found = read_marian(tmp_path / name).tensors
    for weight, values in read_marian(MODEL).tensors.items():
        assert np.array_equal(found[weight], values), weight


def test_adapters_learn_on_them(folders):
    wanted = LoraConfig(task_type="SEQ_2_SEQ_LM", target_modules="all-linear", r=2, init_lora_weights=False)
    adapted = get_peft_model(load(folders / "int8"), wanted).train()
    source = torch.tensor([[5, 6, 7, 0]])
    adapted(input_ids=source, labels=source).loss.backward()
    learning = {name for name, weight in adapted.named_parameters() if weight.grad is not None}
    assert learning == {name for name, _ in adapted.named_parameters() if "lora_" in name}


def test_a_model_that_was_not_in_8_bits_is_left_as_it_is():
    model = model_from_marian(student())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="encoder_l1_self_Wq was not in 8 bits"):
        keep_8_bits(model, table_of(model.config))
    assert not in_8_bits(model)
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_without_torchao_the_error_names_the_extra(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ImportError, match=r"hf-rnnattn\[quantization\]"):
        keep_8_bits(copy.deepcopy(model), table_of(model.config))
