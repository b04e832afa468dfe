"""The binary container of Marian: what is read, and what a damaged or hostile header can do."""

import struct
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest

from hf_rnnattn.convert.marian_binary import FLOAT32, INTGEMM8, REFUSED, read_binary
from hf_rnnattn.convert.marian_checkpoint import OPTIONS
from hf_rnnattn.convert.marian_writing import binary_bytes, int8_bytes
from students import MODEL

TENSORS = {
    "decoder_ff_logit_out_b": np.arange(5, dtype=np.float32)[None],
    "encoder_l1_self_Wq": np.linspace(-1, 2, 6, dtype=np.float32).reshape(2, 3),
    "Wemb": np.linspace(-3, 1, 8, dtype=np.float32).reshape(4, 2),
}
HUGE = 2**60


def header(
    *items: tuple[bytes, int, tuple[int, ...], int], version: int = 1, gap: int = 0, data: bytes = b""
) -> bytes:
    """A file of these items: name with its NUL, type, shape, bytes of data."""
    written = struct.pack("<QQ", version, len(items))
    for name, kind, shape, size in items:
        written += struct.pack("<QQQQ", len(name), kind, len(shape), size)
    written += b"".join(name for name, *_ in items)
    written += b"".join(struct.pack(f"<{len(shape)}i", *shape) for _, _, shape, _ in items)
    return written + struct.pack("<Q", gap) + bytes(gap) + data


def test_float32_weights_are_read_as_they_were_written():
    read = read_binary(binary_bytes("a: 1", TENSORS), "model.bin")
    assert read.pop(OPTIONS).tobytes() == b"a: 1\0"
    assert read.keys() == TENSORS.keys()
    for name, values in TENSORS.items():
        assert np.array_equal(read[name], values)


def test_8_bit_weights_are_dequantised_and_turned_round():
    read = read_binary(int8_bytes("a: 1", TENSORS), "model.bin")
    for name, values in TENSORS.items():
        assert read[name].shape == values.shape
        step = np.abs(values).max() / 127
        np.testing.assert_allclose(read[name], values, atol=step / 2 * 1.0001, rtol=0)
    assert np.array_equal(read["decoder_ff_logit_out_b"], TENSORS["decoder_ff_logit_out_b"])


def test_8_bit_weights_are_transposed_in_the_file_and_embeddings_are_not():
    """Laid out by hand: numbers, then the float that they are to be divided by."""
    block = struct.pack("<6bf", 1, 2, 3, 4, 5, 6, 2.0)
    items = [(b"x_Wq\0", INTGEMM8, (2, 3), 10), (b"Wemb\0", INTGEMM8, (2, 3), 10)]
    read = read_binary(header(*items, data=block + block), "model.bin")
    assert read["Wemb"].tolist() == [[0.5, 1.0, 1.5], [2.0, 2.5, 3.0]]
    assert read["x_Wq"].tolist() == [[0.5, 1.5, 2.5], [1.0, 2.0, 3.0]]


def test_float16_weights_are_read():
    data = np.array([1.5, -2.0], np.float16).tobytes()
    read = read_binary(header((b"b\0", 0x402, (1, 2), 4), data=data), "model.bin")
    assert read["b"].tolist() == [[1.5, -2.0]]
    assert read["b"].dtype == np.float32


HOSTILE = {
    "a count of items beyond the file": struct.pack("<QQ", 1, HUGE),
    "a name longer than the file": struct.pack("<QQQQQQ", 1, 1, HUGE, FLOAT32, 1, 4),
    "a rank beyond all bounds": struct.pack("<QQQQQQ", 1, 1, 2, FLOAT32, HUGE, 4) + b"a\0",
    "a negative size": header((b"a\0", FLOAT32, (-1, 4), 4), data=bytes(4)),
    "two negative sizes, whose product is positive": header((b"a\0", FLOAT32, (-1, -1), 4), data=bytes(4)),
    "a size of 0": header((b"a\0", FLOAT32, (0, 4), 4), data=bytes(4)),
    "a shape larger than its data": header((b"a\0", FLOAT32, (2**31 - 1, 2**31 - 1), 4), data=bytes(4)),
    "data larger than the file": header((b"a\0", FLOAT32, (1, 1), HUGE), data=bytes(4)),
    "a gap larger than the file": header((b"a\0", FLOAT32, (1, 1), 4))[:-8] + struct.pack("<Q", HUGE),
    "less data than the header tells": header((b"a\0", FLOAT32, (1, 1), 4), data=bytes(3)),
    "more data than the header tells": header((b"a\0", FLOAT32, (1, 1), 4), data=bytes(5)),
    "two items of one name": header(*[(b"a\0", FLOAT32, (1, 1), 4)] * 2, data=bytes(8)),
    "a name without its end": header((b"ab", FLOAT32, (1, 1), 4), data=bytes(4)),
    "a name of broken UTF-8": header((b"\xff\0", FLOAT32, (1, 1), 4), data=bytes(4)),
    "no multiplier": header((b"a_W\0", INTGEMM8, (2, 2), 7), data=bytes(7)),
    "a multiplier of 0": header((b"a_W\0", INTGEMM8, (1, 1), 5), data=bytes(5)),
    "a multiplier that is no number": header((b"a_W\0", INTGEMM8, (1, 1), 5), data=struct.pack("<bf", 1, np.nan)),
    "nothing after the version": struct.pack("<Q", 1),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_contradicts_the_file_is_refused_before_memory_is_taken(data):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"model\.bin"):
            read_binary(data, "model.bin")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("kind", "name"), [*REFUSED.items(), (0x999, "0x999")])
def test_other_types_are_refused_by_name(kind, name):
    with pytest.raises(ValueError, match=rf"a in model.bin has type {kind:#x}.*float32, float16, int8") as error:
        read_binary(header((b"a\0", kind, (1, 1), 4), data=bytes(4)), "model.bin")
    assert name in str(error.value)


def test_another_version_is_refused():
    with pytest.raises(ValueError, match="binaryFileVersion 1, got 2"):
        read_binary(header(version=2), "model.bin")


def test_a_file_cut_anywhere_is_refused():
    whole = binary_bytes("a: 1", TENSORS)
    for end in range(len(whole)):
        with pytest.raises(ValueError, match=r"truncated|binaryFileVersion|damaged"):
            read_binary(whole[:end], "model.bin")


def test_bytes_changed_at_random_give_an_error_of_ours_or_weights():
    """Of the header, where all that can go wrong stands."""
    whole = int8_bytes("a: 1", TENSORS)
    draw = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(whole)
        for at in draw.integers(0, 300, size=draw.integers(1, 4)):
            damaged[at] = draw.integers(256)
        with suppress(ValueError):
            read = read_binary(bytes(damaged), "model.bin")
            assert sum(values.nbytes for values in read.values()) < 4 * len(whole)


def test_8_bit_weights_written_again_are_the_same_weights():
    """Of a file that Marian's own converter wrote."""
    first = read_binary(MODEL.read_bytes(), "model.bin")
    options = first.pop(OPTIONS)
    assert options.dtype == np.int8
    second = read_binary(int8_bytes(options.tobytes().rstrip(b"\0").decode(), first), "again.bin")
    assert second.pop(OPTIONS).dtype == np.dtype(np.int8)
    assert second.keys() == first.keys()
    for name, values in first.items():
        np.testing.assert_allclose(second[name], values, rtol=1e-6)
