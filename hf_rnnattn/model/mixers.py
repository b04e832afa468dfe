"""The registry of mixers. A layer's entry in the config is one of these names, or several joined with ``+``."""

from typing import Any

from .mixer_attention import FullAttentionMixer
from .mixer_attentive import BahdanauGRUMixer
from .mixer_gru import GRUMixer
from .mixer_lstm import LSTMMixer
from .mixer_mingru import MinGRUMixer
from .mixer_rnn import ElmanMixer
from .mixer_ssru import KimSSRUMixer, SSRUMixer

MIXERS: dict[str, type[Any]] = {
    "bahdanau_gru": BahdanauGRUMixer,
    "elman": ElmanMixer,
    "full_attention": FullAttentionMixer,
    "gru": GRUMixer,
    "kim_ssru": KimSSRUMixer,
    "lstm": LSTMMixer,
    "mingru": MinGRUMixer,
    "ssru": SSRUMixer,
}


def split_mixer(entry: str) -> list[str]:
    """The names that a layer's entry joins: ``"gru+full_attention"`` -> ``["gru", "full_attention"]``.

    Raises:
        ValueError: a name is not registered, or more than one part has keys and values of its own.
    """
    names = entry.split("+")
    for name in names:
        if name not in MIXERS:
            raise ValueError(f"unknown mixer {name!r}; choose from {', '.join(sorted(MIXERS))}")
    attentions = [name for name in names if MIXERS[name].kind == "attention"]
    if len(attentions) > 1:
        raise ValueError(f"mixer {entry!r} joins {len(attentions)} attentions, at most 1 may keep keys and values")
    return names


def reads_memory(entry: str) -> bool:
    """Whether a part of the entry attends to the encoder inside its recurrence: no cross-attention is then added."""
    return any(MIXERS[name].reads_memory for name in split_mixer(entry))


def attends_itself(entry: str) -> bool:
    """Whether a part of the entry is self-attention, which has heads, keys and values."""
    return any(MIXERS[name].kind == "attention" for name in split_mixer(entry))


def recurs(entry: str) -> bool:
    """Whether a part of the entry is recurrent, and so reads in a direction."""
    return any(MIXERS[name].kind == "recurrent" for name in split_mixer(entry))
