"""What someone else may do to a checkpoint folder: ``load_strict`` loads what it has checked, or nothing."""

import json
import os
import shutil
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.distributed.checkpoint import CheckpointException
from transformers import AutoModelForSeq2SeqLM

from hf_rnnattn import RnnAttnForConditionalGeneration
from hf_rnnattn.checkpoint import checksums, load_strict
from model_zoo import build, tiny_config

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
REFUSED = (SafetensorError, ValueError, OSError)
LOADERS = [load_strict, RnnAttnForConditionalGeneration.from_pretrained, AutoModelForSeq2SeqLM.from_pretrained]
many = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder(tmp_path):
    build(tiny_config()).save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def other(tmp_path):
    """Other weights of the same shapes."""
    build(tiny_config(), seed=1).save_pretrained(tmp_path / "other")
    return tmp_path / "other" / WEIGHTS


def is_as_saved(model, seed=0):
    """Whether a model has the weights with which one was built from this seed, and no more."""
    wanted, found = build(tiny_config(), seed=seed).state_dict(), model.state_dict()
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


# --- weights that are elsewhere --------------------------------------------------------------------------------------


def name_other_weights(folder, other):
    """config.json says which file to load."""
    shutil.copy(other, folder / "other.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_weights": "other.safetensors"}))


def add_distributed_shards(folder, other):
    """Files that are named like those of a distributed checkpoint go first."""
    shutil.copy(other, folder / "shard-00000-model-00001-of-00001.safetensors")


def add_an_adapter(folder, other):
    """An adapter beside the weights is loaded with them."""
    peft = pytest.importorskip("peft")
    model = build(tiny_config())
    adapters = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(model, adapters).save_pretrained(folder)


@pytest.mark.parametrize("redirect", [name_other_weights, add_distributed_shards, add_an_adapter])
def test_only_the_weights_that_were_checked_are_loaded(folder, other, redirect):
    digest = checksums(folder)[WEIGHTS]
    redirect(folder, other)
    assert is_as_saved(load_strict(folder, sha256=digest))
    try:
        plain = RnnAttnForConditionalGeneration.from_pretrained(folder)
    except (ValueError, OSError, CheckpointException):
        return
    assert not is_as_saved(plain)  # or this folder would prove nothing


def test_links_are_followed_inside_of_the_folder_only(folder, other):
    (folder / WEIGHTS).rename(folder / "weights.safetensors")
    (folder / WEIGHTS).symlink_to("weights.safetensors")
    assert is_as_saved(load_strict(folder))
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(other)
    with pytest.raises(ValueError, match=r"shard path leaves the checkpoint folder: 'model\.safetensors'"):
        load_strict(folder)


def test_a_shard_that_links_out_of_the_folder_is_not_followed(tmp_path):
    build(tiny_config()).save_pretrained(tmp_path / "c", max_shard_size="4KB")
    shard = sorted((tmp_path / "c").glob("*.safetensors"))[0]
    shard.rename(tmp_path / shard.name)
    shard.symlink_to(tmp_path / shard.name)
    with pytest.raises(ValueError, match="shard path leaves the checkpoint folder: 'model-00001"):
        load_strict(tmp_path / "c")


def test_a_cache_of_the_hub_may_link_to_its_blobs(folder):
    blobs = folder.parent / "blobs"
    blobs.mkdir()
    snapshot = folder.parent / "snapshots" / "commit"
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    assert is_as_saved(load_strict(snapshot, sha256=checksums(snapshot)))


@pytest.mark.parametrize(
    "shard", ["../x.safetensors", "/abs.safetensors", "a/../../x.safetensors", "..", "a\\b", "", 3]
)
def test_shards_outside_of_the_folder_are_not_followed(tmp_path, shard):
    build(tiny_config()).save_pretrained(tmp_path / "c", max_shard_size="4KB")
    index = json.loads((tmp_path / "c" / INDEX).read_text())
    index["weight_map"] = dict.fromkeys(index["weight_map"], shard)
    (tmp_path / "c" / INDEX).write_text(json.dumps(index))
    with pytest.raises(ValueError, match="shard path leaves the checkpoint folder"):
        load_strict(tmp_path / "c")


# --- weights that are code -------------------------------------------------------------------------------------------


class Payload:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("place", ["alone", "in an index of its own", "in an index"])
def test_pickled_weights_are_never_run(folder, tmp_path, load, place):
    (folder / WEIGHTS).unlink()
    torch.save({"x": Payload(tmp_path / "ran")}, folder / "pytorch_model.bin")
    index = json.dumps({"metadata": {}, "weight_map": {"lm_head.weight": "pytorch_model.bin"}})
    if place == "alone":
        error = pytest.raises(OSError, match=r"no file named model\.safetensors")
    elif place == "in an index of its own":
        (folder / "pytorch_model.bin.index.json").write_text(index)
        error = pytest.raises(OSError, match=r"no file named model\.safetensors")
    else:
        (folder / INDEX).write_text(index)
        error = pytest.raises(Exception, match=r"must name safetensors files only|(?i:weights.only)")
    with error:
        load(folder)
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_are_not_run_by_those_who_ask_for_them(folder, tmp_path):
    (folder / WEIGHTS).unlink()
    torch.save({"x": Payload(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        RnnAttnForConditionalGeneration.from_pretrained(folder, use_safetensors=False)
    with pytest.raises(OSError, match=r"model\.safetensors in .*; pytorch_model\.bin may hold code and is not read"):
        load_strict(folder)
    assert not (tmp_path / "ran").exists()


# --- weights that were altered ---------------------------------------------------------------------------------------


def header_of(data):
    """The header of a safetensors file, and what follows it."""
    length = struct.unpack("<Q", data[:8])[0]
    return data[8 : 8 + length].decode(), data[8 + length :]


def with_header(header, rest):
    return struct.pack("<Q", len(header.encode())) + header.encode() + rest


def test_a_name_that_comes_twice_is_refused(folder):
    header, rest = header_of((folder / WEIGHTS).read_bytes())
    name = "model.decoder.norm.weight"
    entry = json.dumps({name: json.loads(header)[name]})
    (folder / WEIGHTS).write_bytes(with_header(header.rstrip()[:-1] + "," + entry[1:], rest))
    with pytest.raises(ValueError, match=r"model\.decoder\.norm\.weight is in .*model\.safetensors twice"):
        load_strict(folder)


def test_a_weight_that_is_in_two_files_is_refused(tmp_path):
    build(tiny_config()).save_pretrained(tmp_path, max_shard_size="4KB")
    first = sorted(tmp_path.glob("*.safetensors"))[0]
    shutil.copy(first, tmp_path / "copy.safetensors")
    index = json.loads((tmp_path / INDEX).read_text())
    index["weight_map"]["more"] = "copy.safetensors"
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(ValueError, match="is in several files"):
        load_strict(tmp_path)


@pytest.mark.parametrize("load", [load_strict, RnnAttnForConditionalGeneration.from_pretrained])
def test_tensors_that_overlap_are_refused(folder, load):
    header, rest = header_of((folder / WEIGHTS).read_bytes())
    entries = json.loads(header)
    entries["model.decoder.norm.weight"]["data_offsets"] = entries["model.decoder.norm.bias"]["data_offsets"]
    (folder / WEIGHTS).write_bytes(with_header(json.dumps(entries), rest))
    with pytest.raises(SafetensorError, match="offset"):
        load(folder)


@many
@given(place=st.integers(0, 10**6), value=st.binary(min_size=1, max_size=9), cut=st.booleans())
def test_whatever_happens_to_the_header_the_weights_are_the_same_or_refused(folder, place, value, cut):
    """Bytes of the header are replaced by others, or by nothing."""
    original = (folder / WEIGHTS).read_bytes()
    place %= len(original) - len(header_of(original)[1])
    (folder / WEIGHTS).write_bytes(original[:place] + (b"" if cut else value) + original[place + len(value) :])
    try:
        loaded = load_strict(folder)
    except REFUSED:
        return
    finally:
        (folder / WEIGHTS).write_bytes(original)
    assert is_as_saved(loaded)


@many
@given(data=st.data())
def test_entries_of_the_header_may_say_anything(folder, data):
    original = (folder / WEIGHTS).read_bytes()
    header, rest = header_of(original)
    entries = json.loads(header)
    name = data.draw(st.sampled_from(sorted(set(entries) - {"__metadata__"})))
    sizes = st.integers(-(2**65), 2**65) | st.integers(0, 64)
    odd = st.none() | st.text(max_size=4) | sizes | st.lists(sizes, max_size=4)
    kinds = st.sampled_from(["F64", "F16", "BF16", "I8", "F8_E4M3", "F4"])
    key = data.draw(st.sampled_from(["shape", "data_offsets", "dtype", "more"]))
    entries[name][key] = data.draw(odd | kinds)
    (folder / WEIGHTS).write_bytes(with_header(json.dumps(entries), rest))
    try:
        loaded = load_strict(folder)
    except REFUSED:
        return
    finally:
        (folder / WEIGHTS).write_bytes(original)
    assert is_as_saved(loaded)


@many
@given(data=st.data())
def test_no_byte_of_a_file_with_a_digest_can_change(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "digests"
    if not folder.exists():
        build(tiny_config()).save_pretrained(folder, max_shard_size="8KB")
    digests = checksums(folder)
    assert set(digests) == {path.name for path in folder.iterdir()}
    file = folder / data.draw(st.sampled_from(sorted(digests)))
    original = file.read_bytes()
    place = data.draw(st.integers(0, len(original) - 1))
    changed = data.draw(st.sampled_from([original[:place], original + b" ", None]))
    if changed is None:
        changed = (
            original[:place] + bytes([original[place] ^ (1 << data.draw(st.integers(0, 7)))]) + original[place + 1 :]
        )
    file.write_bytes(changed)
    try:
        with pytest.raises(REFUSED):
            load_strict(folder, sha256=digests)
    finally:
        file.write_bytes(original)
    assert is_as_saved(load_strict(folder, sha256=digests))


FIELDS = sorted(tiny_config().to_dict())
VALUES = [None, True, -1, 0, 1, 3, 2**70, 1e400, float("nan"), "", "x", [], [None], {}, {"a": 1}, ["gru"], 10**9]


@many
@given(field=st.sampled_from(FIELDS), value=st.sampled_from(VALUES))
def test_whatever_the_config_says_the_weights_are_the_same_or_refused(folder, field, value):
    original = (folder / "config.json").read_text()
    (folder / "config.json").write_text(json.dumps({**json.loads(original), field: value}))
    try:
        loaded = load_strict(folder)
    except REFUSED:
        return
    finally:
        (folder / "config.json").write_text(original)
    weights = load_file(folder / WEIGHTS)
    assert all(torch.equal(weights[name], value) for name, value in loaded.state_dict().items() if name in weights)
