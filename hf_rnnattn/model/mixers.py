"""The registry of mixers. A layer's entry in the config is one of these names, or several joined with ``+``."""

from typing import Any

from .mixer_attention import FullAttentionMixer, SlidingAttentionMixer
from .mixer_attentive import BahdanauGRUMixer
from .mixer_conditional import ConditionalGRUMixer, ConditionalLSTMMixer
from .mixer_fused import FusedMixer
from .mixer_gru import GRUMixer
from .mixer_lstm import LSTMMixer
from .mixer_luong import LuongGRUMixer, LuongLSTMMixer
from .mixer_mingru import MinGRUMixer
from .mixer_normed import NormedLSTMMixer
from .mixer_ntm import NTMMixer
from .mixer_rglru import RGLRUMixer
from .mixer_rnmt import RNMTMixer
from .mixer_rnn import ElmanMixer
from .mixer_ssru import KimSSRUMixer, SSRUMixer

MIXERS: dict[str, type[Any]] = {
    "bahdanau_gru": BahdanauGRUMixer,
    "conditional_gru": ConditionalGRUMixer,
    "conditional_lstm": ConditionalLSTMMixer,
    "elman": ElmanMixer,
    "full_attention": FullAttentionMixer,
    "fused": FusedMixer,
    "gru": GRUMixer,
    "kim_ssru": KimSSRUMixer,
    "lstm": LSTMMixer,
    "luong_gru": LuongGRUMixer,
    "luong_lstm": LuongLSTMMixer,
    "mingru": MinGRUMixer,
    "normed_lstm": NormedLSTMMixer,
    "ntm": NTMMixer,
    "rglru": RGLRUMixer,
    "rnmt_lstm": RNMTMixer,
    "sliding_attention": SlidingAttentionMixer,
    "ssru": SSRUMixer,
}


def split_mixer(entry: str) -> list[str]:
    """The names that a layer's entry joins: ``"gru+full_attention"`` -> ``["gru", "full_attention"]``.

    Raises:
        ValueError: a name is not registered, or more than one part has keys and values of its own or of the encoder.
    """
    names = entry.split("+")
    for name in names:
        if name not in MIXERS:
            raise ValueError(f"unknown mixer {name!r}; choose from {', '.join(sorted(MIXERS))}")
    keepers = [name for name in names if MIXERS[name].keeps_keys]
    if len(keepers) > 1:
        raise ValueError(f"mixer {entry!r} joins {len(keepers)} mixers that keep keys and values, at most 1 may")
    readers = [name for name in names if MIXERS[name].reads_memory]
    if len(readers) > 1:
        raise ValueError(f"mixer {entry!r} joins {len(readers)} mixers that read the encoder, at most 1 may")
    return names


def reads_memory(entry: str) -> bool:
    """Whether a part of the entry attends to the encoder inside its recurrence: no cross-attention is then added."""
    return any(MIXERS[name].reads_memory for name in split_mixer(entry))


def reads_with_heads(entry: str) -> bool:
    """Whether that part has several heads, as wide together as ``attention_size``."""
    return any(MIXERS[name].takes_heads for name in split_mixer(entry))


def attends_itself(entry: str) -> bool:
    """Whether a part of the entry is self-attention, which needs the masks of the attention interface."""
    return any(MIXERS[name].kind == "attention" for name in split_mixer(entry))


def keeps_keys(entry: str) -> bool:
    """Whether a part of the entry has heads, and keys and values of its own: self-attention, alone or in a cell."""
    return any(MIXERS[name].keeps_keys for name in split_mixer(entry))


def recurs(entry: str) -> bool:
    """Whether a part of the entry is recurrent, and so reads in a direction."""
    return any(MIXERS[name].kind == "recurrent" for name in split_mixer(entry))


def attention_options(name: str, window: int) -> dict[str, Any]:
    """``window`` for self-attention that is cut to one, else nothing."""
    return {"window": window} if MIXERS[name].mask_kind == "sliding_attention" else {}


def divides_width(entry: str) -> bool:
    """Whether a part of the entry divides its width among the heads of attention."""
    return any(MIXERS[name].keeps_keys or MIXERS[name].takes_blocks for name in split_mixer(entry))


def cell_options(name: str, **options: Any) -> dict[str, Any]:
    """``depth``, ``cell_norm`` and ``norm_eps`` for a mixer that may be built of several cells, else nothing."""
    return options if MIXERS[name].takes_depth else {}


def slot_options(name: str, **options: Any) -> dict[str, Any]:
    """The sizes of a memory of slots for a mixer that has one, else nothing."""
    return options if MIXERS[name].takes_slots else {}


def cell_depth(depths: int | list[int] | None, entry: str, layer_idx: int) -> int:
    """How many cells a step of this layer passes through, of a field that names one number a layer or one for all."""
    if isinstance(depths, list):
        return depths[layer_idx]
    least: int = max(MIXERS[name].least_depth for name in split_mixer(entry))
    return least if depths is None else depths


def encoder_states(entry: str, depth: int) -> list[str]:
    """The kinds of states that an encoder may hand to a layer with this entry, in order: ``["h", "c"]`` of an LSTM.

    ``depth`` is the number of cells of a stack that is one mixer.
    """
    kinds: list[str] = []
    for name in split_mixer(entry):
        if MIXERS[name].kind == "recurrent":
            stack = getattr(MIXERS[name], "cell_class", None)
            kinds += (stack.encoder_states * depth) if stack else MIXERS[name].encoder_states
    return kinds
