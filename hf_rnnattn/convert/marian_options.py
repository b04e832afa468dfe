"""What Marian's training options mean for a config of this family, and which of them have no counterpart in it."""

from collections.abc import Callable
from typing import Any, NamedTuple

EPSILON = 1e-6  # of Marian's layer norm
ACTIVATIONS = {"relu": "relu", "swish": "silu"}


class _Rule(NamedTuple):
    """One option: Marian's default, whether a value has a counterpart here, and what to say if it has none."""

    default: Any
    accepts: Callable[[Any], bool]
    wanted: str


def _one_of(*values: Any) -> Callable[[Any], bool]:
    # 0 is False and 1 is True for Python, not for YAML
    return lambda value: any(value == known and type(value) is type(known) for known in values)


def _steps(*wanted: str) -> Callable[[Any], bool]:
    """Whether a chain of operations is one of these, apart from dropout, ``d``."""
    return lambda value: isinstance(value, str) and value.replace("d", "") in wanted


def _off(value: Any) -> bool:
    return value is False


def _no_types(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(kind == "sequence" for kind in value))


NO_FACTORS = "factored vocabularies are not read"
LEARNED = "position vectors must be the fixed sines and cosines"
RULES = {
    "type": _Rule("amun", _one_of("transformer"), "only transformer, s2s, amun and nematus are read"),
    "transformer-decoder-autoreg": _Rule(
        "self-attention",
        _one_of("rnn"),
        "only 'rnn' is read: transformers' own MarianMT converter takes 'self-attention'",
    ),
    "dec-cell": _Rule("gru", _one_of("ssru"), "only 'ssru' is read"),
    "transformer-preprocess": _Rule("", _steps(""), "nothing but dropout (d) may stand before a sublayer"),
    "transformer-postprocess": _Rule("dan", _steps("an"), "only 'dan' is read: dropout, add, norm"),
    "transformer-postprocess-emb": _Rule("d", _steps(""), "only dropout (d) may follow the embeddings"),
    "transformer-postprocess-top": _Rule("", _steps(""), "nothing may follow the last layer"),
    "transformer-ffn-activation": _Rule("swish", _one_of(*ACTIVATIONS), f"only {', '.join(ACTIVATIONS)} are read"),
    "transformer-ffn-depth": _Rule(2, _one_of(2), "only 2 is read"),
    "transformer-decoder-ffn-depth": _Rule(0, _one_of(0, 2), "only 2, or 0 for the encoder's, is read"),
    "transformer-train-position-embeddings": _Rule(False, _off, LEARNED),
    "transformer-train-positions": _Rule(False, _off, LEARNED),
    "transformer-disable-position-embeddings": _Rule(False, _off, LEARNED),
    "transformer-no-projection": _Rule(False, _off, "attention must have its output projection"),
    "transformer-pool": _Rule(False, _off, "attention may not be replaced by pooling"),
    "transformer-rnn-projection": _Rule(False, _off, "the recurrent cell may not have an output projection"),
    "transformer-no-bias": _Rule(False, _off, "linear layers must have their biases"),
    "transformer-no-affine": _Rule(False, _off, "norms must have their scale and bias"),
    "layer-normalization": _Rule(False, _off, "the recurrent cell may not be normalised inside"),
    "right-left": _Rule(False, _off, "targets written from right to left are not supported"),
    "ulr": _Rule(False, _off, "universal lexical representations are not read"),
    "input-types": _Rule([], _no_types, "inputs beside the source text are not supported"),
    "lemma-dim-emb": _Rule(0, _one_of(0), NO_FACTORS),
    "factors-dim-emb": _Rule(0, _one_of(0), NO_FACTORS),
    "lemma-dependency": _Rule("", _one_of(""), NO_FACTORS),
}


def check_options(options: dict[str, Any], source: str) -> None:
    """Refuses every option whose value has no counterpart in this family.

    Options that are absent have Marian's default. Options that a transformer with an SSRU decoder does not read
    (``dim-rnn``, ``enc-cell``, ``bert-…``, ``transformer-aan-…``) may say what they like.

    Raises:
        ValueError: names the option, its value, and what is read.
    """
    for key, rule in RULES.items():
        value = options.get(key, rule.default)
        if not rule.accepts(value):
            absent = "" if key in options else " (the default of Marian)"
            raise ValueError(f"{key} is {value!r}{absent} in {source}: {rule.wanted}")


def number(options: dict[str, Any], key: str, default: int, source: str) -> int:
    """An option that must be a positive integer.

    Raises:
        ValueError: it is not.
    """
    value = options.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{key} must be a positive integer, got {value!r} in {source}")
    return value


def activation(options: dict[str, Any]) -> str:
    """The name that transformers has for the activation of the feed-forward networks."""
    return ACTIVATIONS[options.get("transformer-ffn-activation", "swish")]


def tied_layers(options: dict[str, Any], depth: int, source: str) -> list[int]:
    """For each decoder layer the number (from 1) of the layer whose weights it has.

    Raises:
        ValueError: ``transformer-tied-layers`` is no list of layers at or below their own.
    """
    tied = options.get("transformer-tied-layers") or list(range(1, depth + 1))
    if not isinstance(tied, list) or any(isinstance(layer, bool) or not isinstance(layer, int) for layer in tied):
        raise ValueError(f"transformer-tied-layers must be a list of integers, got {tied!r} in {source}")
    if any(not 1 <= layer <= i + 1 for i, layer in enumerate(tied)):
        raise ValueError(f"transformer-tied-layers {tied} in {source} must name, for each layer, itself or one before")
    return tied


def guided_layer(options: dict[str, Any], depth: int, source: str) -> int:
    """The index (from 0) of the decoder layer whose first head gives alignments.

    Raises:
        ValueError: ``transformer-guided-alignment-layer`` is neither ``last`` nor a layer's number.
    """
    value = str(options.get("transformer-guided-alignment-layer", "last"))
    if value == "last":
        return depth - 1
    if not value.isdecimal() or not 1 <= int(value) <= depth:
        raise ValueError(
            f"transformer-guided-alignment-layer must be 'last' or in [1, {depth}], got {value!r} in {source}"
        )
    return int(value) - 1
