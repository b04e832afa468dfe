"""Checkpoints of Marian from every container, and files that only look like one."""

import gzip
import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
import yaml

from hf_rnnattn.convert import marian_source
from hf_rnnattn.convert.marian_checkpoint import OPTIONS, read_marian
from hf_rnnattn.convert.marian_writing import binary_bytes, npz_bytes
from students import MODEL

zstandard = pytest.importorskip("zstandard", reason="the extra convert is not installed")

TENSORS = {"Wemb": np.arange(6, dtype=np.float32).reshape(3, 2), "decoder_ff_logit_out_b": np.ones((1, 3), np.float32)}
YAML = "type: transformer\n"


@pytest.fixture
def write(tmp_path):
    """Writes bytes to a file and returns its path."""

    def written(data, name="model"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return written


def npz(entries):
    """A zip of these files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return stream.getvalue()


def npy(values, **options):
    """One array as a file."""
    stream = io.BytesIO()
    np.save(stream, values, **options)
    return stream.getvalue()


PACKED = {
    "npz": npz_bytes(YAML, TENSORS),
    "npz, deflated": npz(
        {f"{name}.npy": npy(values) for name, values in TENSORS.items()}
        | {f"{OPTIONS}.npy": npy(np.frombuffer(YAML.encode() + b"\0", "S1"))}
    ),
    "bin": binary_bytes(YAML, TENSORS),
    "bin.gz": gzip.compress(binary_bytes(YAML, TENSORS)),
    "npz.zst": zstandard.compress(npz_bytes(YAML, TENSORS)),
    "bin.zst of two frames": b"".join(
        zstandard.compress(half) for half in (binary_bytes(YAML, TENSORS)[:300], binary_bytes(YAML, TENSORS)[300:])
    ),
}


@pytest.mark.parametrize("data", PACKED.values(), ids=PACKED.keys())
def test_every_container_holds_the_same(data, write):
    read = read_marian(write(data))
    assert read.options == {"type": "transformer"}
    assert read.tensors.keys() == TENSORS.keys()
    assert all(np.array_equal(read.tensors[name], values) for name, values in TENSORS.items())


def test_multipliers_of_activations_are_dropped_knowingly():
    read = read_marian(MODEL)
    assert len(read.tensors) == 76
    assert {"Wemb_QuantMultA", "none_QuantMultA", "encoder_l1_self_Wq_QuantMultA"} <= {*read.dropped}
    assert not [name for name in read.tensors if "QuantMult" in name]
    assert read.options["dim-vocabs"] == [1024, 1024]


def test_vectors_without_a_second_dimension_are_rows(write):
    tensors = {"decoder_ff_logit_out_b": np.ones(3, np.float32)}
    assert read_marian(write(npz_bytes(YAML, tensors))).tensors["decoder_ff_logit_out_b"].shape == (1, 3)


OPTIONS_ENTRY = {f"{OPTIONS}.npy": npy(np.frombuffer(YAML.encode(), np.int8))}
LYING = npy(np.zeros((2, 2), np.float32)).replace(b"(2, 2)", b"(9, 9)")
NEGATIVE = npy(np.zeros((2, 2), np.float32)).replace(b"(2, 2)", b"(-2,-2)").replace(b" \n", b"\n")
REFUSED = {
    "an empty file": (b"", OSError, "is empty"),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", OSError, "git lfs pull"),
    "a text": (b"This is no model, but a letter.", ValueError, "neither an .npz nor a .bin"),
    "a zip that is cut": (npz_bytes(YAML, TENSORS)[:-30], OSError, "is damaged"),
    "gzip that is cut": (gzip.compress(npz_bytes(YAML, TENSORS))[:-30], OSError, "is damaged"),
    "zstd that is cut": (b"\x28\xb5\x2f\xfd" + bytes(9), OSError, "is damaged"),
    "no options": (npz({"Wemb.npy": npy(TENSORS["Wemb"])}), ValueError, f"no {OPTIONS}"),
    "options of numbers": (npz({f"{OPTIONS}.npy": npy(np.ones(3))}), ValueError, "must be at most"),
    "options that are no YAML": (npz_bytes("a: [", TENSORS), ValueError, "is no YAML"),
    "options that are a list": (npz_bytes("- a", TENSORS), ValueError, "must be a mapping, got list"),
    "options that would run code": (npz_bytes("!!python/object/apply:os.getcwd []", TENSORS), ValueError, "no YAML"),
    "weights of integers": (
        npz({**OPTIONS_ENTRY, "Wemb.npy": npy(np.ones((2, 2), int))}),
        ValueError,
        "must be float32 or float16",
    ),
    "weights that are not finite": (
        npz_bytes(YAML, {"Wemb": np.array([[1, np.nan]])}),
        ValueError,
        "Wemb .* not finite",
    ),
    "objects": (
        npz({**OPTIONS_ENTRY, "a.npy": npy(np.array([{}], object), allow_pickle=bool(1))}),
        ValueError,
        "not numbers",
    ),
    "a shape that is not the data's": (npz({**OPTIONS_ENTRY, "a.npy": LYING}), ValueError, r"its shape is \(9, 9\)"),
    "a negative shape": (npz({**OPTIONS_ENTRY, "a.npy": NEGATIVE}), ValueError, "a.npy"),
    "an array that is pickled": (npz({**OPTIONS_ENTRY, "a.npy": pickle.dumps([1])}), ValueError, "is no array"),
}


@pytest.mark.parametrize(("data", "kind", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_checkpoint_is_refused(data, kind, message, write):
    with pytest.raises(kind, match=message):
        read_marian(write(data))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(OSError, match=r"no file .*model\.npz"):
        read_marian(tmp_path / "model.npz")


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, lambda data: npz({"a.npy": data})])
def test_what_unpacks_to_far_more_than_weights_do_is_refused(pack, write, monkeypatch):
    monkeypatch.setattr(marian_source, "SMALL", 2**16)
    with pytest.raises(OSError, match=r"unpacks to more than \d+ bytes"):
        read_marian(write(pack(bytes(2**22))))


def test_options_are_text_up_to_the_first_nul(write):
    padded = npz({f"{OPTIONS}.npy": npy(np.frombuffer(b"type: x\0\xff\xff", np.int8))})
    assert read_marian(write(padded)).options == {"type": "x"}


def test_8_bit_numbers_of_a_bin_are_no_weights(write):
    name = b"Wemb\0"
    text = OPTIONS.encode() + b"\0"
    head = struct.pack("<QQ4Q4Q", 1, 2, len(name), 0x101, 2, 4, len(text), 0x101, 1, 5)
    shapes = struct.pack("<2ii", 2, 2, 5)
    data = head + name + text + shapes + struct.pack("<Q", 0) + bytes([1, 2, 3, 4]) + b"a: 1\0"
    with pytest.raises(ValueError, match=r"Wemb .* must be float32 or float16, got int8"):
        read_marian(write(data))


def test_the_yaml_is_what_a_safe_loader_makes_of_it(write):
    read = read_marian(write(npz_bytes("a: [1, 2]\nb: off\n", TENSORS)))
    assert read.options == yaml.safe_load("a: [1, 2]\nb: off\n") == {"a": [1, 2], "b": False}
