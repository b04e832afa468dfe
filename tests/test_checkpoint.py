"""``load_strict`` loads what is whole and refuses the rest, before a model is made."""

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import hf_rnnattn
from hf_rnnattn import RnnAttnForConditionalGeneration
from hf_rnnattn.checkpoint import checksums, load_strict
from model_zoo import ZOO, build, tiny_config

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


@pytest.mark.parametrize("name", ZOO)
def test_a_whole_checkpoint_loads(name, tmp_path):
    model = build(tiny_config(**ZOO[name]))
    model.save_pretrained(tmp_path)
    loaded = load_strict(tmp_path, sha256=checksums(tmp_path))
    assert type(loaded) is RnnAttnForConditionalGeneration
    assert not loaded.training
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_loads_as_its_own_class(head, tmp_path):
    model = getattr(hf_rnnattn, head)(tiny_config())
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = load_strict(tmp_path, sha256=checksums(tmp_path))
    assert type(loaded).__name__ == head
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


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
    change(folder, model__decoder__norm__weight=torch.ones(16).long())
    with pytest.raises(ValueError, match=r"decoder\.norm\.weight must be floating-point, got torch\.int64"):
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


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 4000), bit=st.integers(0, 7))
def test_no_flipped_bit_of_the_header_gives_another_model(folder, place, bit):
    original = (folder / WEIGHTS).read_bytes()
    wanted = load_file(folder / WEIGHTS)
    data = bytearray(original)
    place %= 8 + struct.unpack("<Q", original[:8])[0]
    data[place] ^= 1 << bit
    (folder / WEIGHTS).write_bytes(data)
    try:
        loaded = load_strict(folder)
    except (SafetensorError, ValueError, OSError):
        return  # refused
    finally:
        (folder / WEIGHTS).write_bytes(original)
    for name, value in wanted.items():
        assert torch.equal(loaded.state_dict()[name], value)


@pytest.mark.parametrize("shard", ["../x.safetensors", "/abs.safetensors", "a/../../x.safetensors", "..", "a\\b"])
def test_shards_outside_of_the_folder_are_not_followed(tmp_path, shard):
    build(tiny_config()).save_pretrained(tmp_path / "c", max_shard_size="4KB")
    index = json.loads((tmp_path / "c" / "model.safetensors.index.json").read_text())
    index["weight_map"][next(iter(index["weight_map"]))] = shard
    (tmp_path / "c" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="shard path leaves the checkpoint folder"):
        load_strict(tmp_path / "c")


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


class Payload:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickled_weights_are_never_run(folder, tmp_path):
    (folder / WEIGHTS).unlink()
    torch.save({"x": Payload(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"no file named model\.safetensors in .*; pytorch_model\.bin may hold code"):
        load_strict(folder)
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        RnnAttnForConditionalGeneration.from_pretrained(folder)
    with pytest.raises(OSError, match="no file named"):
        RnnAttnForConditionalGeneration.from_pretrained(folder, use_safetensors=True)
    assert not (tmp_path / "ran").exists()


def test_configs_of_another_kind_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    for architectures in (None, ["BartModel"], ["RnnAttnConfig", "RnnAttnModel"]):
        (folder / "config.json").write_text(json.dumps({**config, "architectures": architectures}))
        with pytest.raises(ValueError, match=r"architectures in config\.json must name one model of this package"):
            load_strict(folder)
    assert type(load_strict(folder, model_class=RnnAttnForConditionalGeneration)) is RnnAttnForConditionalGeneration
    for text, error in (("[1, 2]", ValueError), ('{"hid', OSError), ("", OSError)):
        (folder / "config.json").write_text(text)
        with pytest.raises(error):
            load_strict(folder)
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        load_strict(folder / "elsewhere")
