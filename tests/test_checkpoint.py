"""``load_strict`` loads what is whole and refuses the rest, before a model is made."""

import json
import re
import struct

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import hf_rnnattn
from hf_rnnattn import RnnAttnForConditionalGeneration
from hf_rnnattn.checkpoint import checksums, load_strict
from model_zoo import ZOO, batch, build, tiny_config

WEIGHTS = "model.safetensors"
HEADS = sorted(name for name in hf_rnnattn.__all__ if name.startswith("RnnAttnFor"))


@pytest.fixture
def folder(tmp_path):
    build(tiny_config()).save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def change(folder, **tensors):
    """Writes the weights anew with these tensors in place of theirs, without those that are None."""
    weights = {**load_file(folder / WEIGHTS), **{name.replace("__", "."): value for name, value in tensors.items()}}
    save_file({name: value for name, value in weights.items() if value is not None}, folder / WEIGHTS)


def assert_same(model, other):
    """Asserts that these models have the same weights."""
    weights, wanted = model.state_dict(), other.state_dict()
    assert weights.keys() == wanted.keys()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)


def change_config(folder, **fields):
    """Writes config.json anew with these fields in place of its own."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **fields}), encoding="utf-8")


@pytest.mark.parametrize("name", ZOO)
def test_a_whole_checkpoint_loads(name, tmp_path):
    model = build(tiny_config(**ZOO[name]))
    model.save_pretrained(tmp_path)
    loaded = load_strict(tmp_path, sha256=checksums(tmp_path))
    assert type(loaded) is RnnAttnForConditionalGeneration
    assert not loaded.training
    assert_same(loaded, model)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_loads_as_its_own_class(head, tmp_path):
    model = getattr(hf_rnnattn, head)(tiny_config())
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = load_strict(tmp_path, sha256=checksums(tmp_path))
    assert type(loaded).__name__ == head
    assert_same(loaded, model)


def test_a_loaded_model_is_the_one_that_from_pretrained_gives(folder):
    model = build(tiny_config())
    model.generation_config.num_beams = 3
    model.save_pretrained(folder)
    strict, plain = load_strict(folder), RnnAttnForConditionalGeneration.from_pretrained(folder)
    assert strict.generation_config.num_beams == 3
    assert strict.generation_config.to_dict() == plain.generation_config.to_dict()
    assert strict.config.to_dict() == plain.config.to_dict()
    assert strict.name_or_path == plain.name_or_path == strict.config.name_or_path == str(folder)
    assert strict.lm_head.weight is strict.model.decoder.get_input_embeddings().weight
    assert all(parameter.requires_grad for parameter in strict.parameters())
    ids = batch(model.config)["input_ids"]
    assert torch.equal(strict.generate(ids, max_new_tokens=5), plain.generate(ids, max_new_tokens=5))
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(OSError, match="generation_config"):
        load_strict(folder)


def test_missing_and_unexpected_weights_are_refused(folder):
    change(folder, model__decoder__norm__weight=None)
    with pytest.raises(ValueError, match=r"1 weight missing: model\.decoder\.norm\.weight$"):
        load_strict(folder)
    change(folder, model__decoder__norm__weight=torch.ones(16), more=torch.ones(1), most=torch.ones(1))
    with pytest.raises(ValueError, match="2 weights unexpected: more, most"):
        load_strict(folder)


def test_weights_of_another_shape_or_kind_are_refused(folder):
    change(folder, model__decoder__norm__weight=torch.ones(17))
    with pytest.raises(ValueError, match=r"decoder\.norm\.weight has shape \(17,\) in the file, \(16,\) in the model"):
        load_strict(folder)
    for kind in (torch.int64, torch.bool, torch.complex64):
        change(folder, model__decoder__norm__weight=torch.ones(16).to(kind))
        with pytest.raises(ValueError, match=rf"decoder\.norm\.weight must be floating-point, got {kind}"):
            load_strict(folder)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float8_e4m3fn])
def test_weights_of_another_precision_are_converted(folder, kind):
    change(folder, model__decoder__norm__weight=torch.full((16,), 0.75).to(kind))
    loaded = load_strict(folder)
    assert loaded.dtype == torch.float32
    assert loaded.model.decoder.norm.weight.tolist() == [0.75] * 16


@pytest.mark.parametrize(("stored", "loaded"), [(torch.float64, "float32"), (torch.float32, "float16")])
def test_weights_that_overflow_in_the_precision_of_the_model_are_refused(folder, stored, loaded):
    change_config(folder, dtype=loaded)
    change(folder, model__decoder__norm__weight=torch.full((16,), 1e39 if loaded == "float32" else 1e5, dtype=stored))
    with pytest.raises(ValueError, match=rf"non-finite values in model\.decoder\.norm\.weight, as torch\.{loaded}"):
        load_strict(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(folder, value):
    weight = torch.ones(16)
    weight[3] = value
    change(folder, model__decoder__norm__weight=weight)
    with pytest.raises(ValueError, match=r"non-finite values in model\.decoder\.norm\.weight"):
        load_strict(folder)


def test_tied_weights_may_be_stored_once_or_equal(folder):
    table = load_file(folder / WEIGHTS)["model.decoder.embeddings.word_embeddings.weight"]
    change(folder, lm_head__weight=table.clone())
    load_strict(folder)
    change(folder, lm_head__weight=table + 1)
    with pytest.raises(ValueError, match=r"lm_head\.weight and model\.decoder\.\S+ are one weight in the model"):
        load_strict(folder)


def test_a_flipped_bit_is_noticed_by_its_digest(folder):
    digests = checksums(folder)
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    load_strict(folder)
    for sha256 in (digests, digests[WEIGHTS]):
        with pytest.raises(OSError, match=r"sha256 mismatch of model\.safetensors .* expected \w{64}, got \w{64}"):
            load_strict(folder, sha256=sha256)
    with pytest.raises(ValueError, match="must have a digest of every weights file"):
        load_strict(folder, sha256={"config.json": digests["config.json"]})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-100],
        lambda data: data + b"x",
        lambda data: b"",
        lambda data: struct.pack("<Q", 2**63) + data[8:],
        lambda data: data[:9] + b"}" + data[10:],
    ],
    ids=["cut", "padded", "empty", "long_header", "broken_header"],
)
def test_files_that_are_no_safetensors_are_refused_by_name(folder, spoil):
    (folder / WEIGHTS).write_bytes(spoil((folder / WEIGHTS).read_bytes()))
    with pytest.raises(SafetensorError, match=r"model\.safetensors: "):
        load_strict(folder)
    with pytest.raises(SafetensorError):
        RnnAttnForConditionalGeneration.from_pretrained(folder)


def test_a_broken_index_is_refused(tmp_path):
    build(tiny_config()).save_pretrained(tmp_path, max_shard_size="4KB")
    index = tmp_path / "model.safetensors.index.json"
    original = json.loads(index.read_text())
    for text in ("[]", "{", "{}", '{"weight_map": 3}'):
        index.write_text(text)
        with pytest.raises(ValueError, match="must be a JSON object with a weight_map"):
            load_strict(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "pytorch_model.bin"}}))
    with pytest.raises(ValueError, match=r"must name safetensors files only, got 'pytorch_model\.bin'"):
        load_strict(tmp_path)
    index.write_text(json.dumps(original))
    next(tmp_path.glob("*.safetensors")).unlink()
    with pytest.raises(OSError, match=r"no file named model-\S+ in"):
        load_strict(tmp_path)


NO_MODELS = (
    None,
    ["BartModel"],
    ["RnnAttnConfig"],
    ["RnnAttnTokenizer"],
    ["align"],
    [3],
    "RnnAttnModel",
    ["RnnAttnModel"] * 2,
)


@pytest.mark.parametrize("architectures", NO_MODELS, ids=str)
def test_architectures_that_are_no_model_of_this_package_are_refused(folder, architectures):
    change_config(folder, architectures=architectures)
    with pytest.raises(ValueError, match=r"architectures in config\.json must name one model of this package"):
        load_strict(folder)
    loaded = load_strict(folder, model_class=RnnAttnForConditionalGeneration)
    assert type(loaded) is RnnAttnForConditionalGeneration


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "bart"}, "model_type in config.json must be 'rnnattn', got 'bart'"),
        ({"quantization_config": {"quant_method": "torchao"}}, "quantization_config in config.json must be None"),
        ({"dtype": True}, "dtype in config.json must name a floating-point type of torch, got True"),
        ({"dtype": "int64"}, "dtype in config.json must name a floating-point type of torch, got 'int64'"),
        ({"hidden_size": -1}, "hidden_size must be in"),
        ({"hidden_size": "16"}, "hidden_size"),
    ],
)
def test_configs_of_another_kind_are_refused(folder, fields, message):
    change_config(folder, **fields)
    with pytest.raises(ValueError, match=re.escape(message)):
        load_strict(folder)


@pytest.mark.parametrize("load", [load_strict, RnnAttnForConditionalGeneration.from_pretrained])
def test_a_config_that_is_no_json_object_is_refused(folder, load):
    for text, kind in (("[1, 2]", "list"), ("null", "NoneType"), ("3", "int")):
        (folder / "config.json").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=rf"config\.json must be a JSON object, got {kind}"):
            load(folder)
    for text in ('{"hid', "", "\ufeff{}"):
        (folder / "config.json").write_text(text, encoding="utf-8")
        with pytest.raises(OSError, match="is not a valid JSON file"):
            load(folder)


def test_a_folder_that_lacks_something_is_refused(folder):
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        load_strict(folder / "elsewhere")
    (folder / "config.json").unlink()
    with pytest.raises(OSError, match=r"config\.json"):
        load_strict(folder)


def test_a_loaded_model_does_not_change_with_its_file(folder):
    loaded, wanted = load_strict(folder), build(tiny_config())
    size = (folder / WEIGHTS).stat().st_size
    with (folder / WEIGHTS).open("r+b") as file:
        file.write(b"\0" * size)
    assert_same(loaded, wanted)
