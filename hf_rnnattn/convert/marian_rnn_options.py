"""What the options of Marian's recurrent models mean for a config of this family, and which have no counterpart."""

from typing import Any, NamedTuple

RECURRENT = ("s2s", "amun", "nematus")
CELLS = {"gru": "gru", "gru-nematus": "gru", "lstm": "lstm"}
EPSILON = {"none": 1e-9, "layer_norm": 1e-9, "split_layer_norm": 1e-5}
ONE_HEAD = "the decoder must read the encoder once a step, with one head and Marian's own score"
NO_FACTORS = "factored vocabularies are not read"

# option -> (Marian's default, what is read, what to say of anything else)
RULES: dict[str, tuple[Any, tuple[Any, ...], str]] = {
    "type": ("amun", RECURRENT, f"only {', '.join(RECURRENT)} are read"),
    "enc-cell": ("gru", tuple(CELLS), f"only {', '.join(CELLS)} are read"),
    "dec-cell": ("gru", tuple(CELLS), f"only {', '.join(CELLS)} are read"),
    "enc-type": (
        "bidirectional",
        ("bidirectional", "alternating", "bi-unidirectional"),
        "only bidirectional and alternating encoders are read",
    ),
    "dec-attention-hops": (1, (1,), ONE_HEAD),
    "dec-attention-heads": (1, (1,), ONE_HEAD),
    "dec-attention-lookup-dim": (-1, (-1,), ONE_HEAD),
    "dec-attention-projection-dim": (-1, (-1,), ONE_HEAD),
    "dec-attention-bilinear-lookup": (False, (False,), ONE_HEAD),
    "right-left": (False, (False,), "targets written from right to left are not supported"),
    "ulr": (False, (False,), "universal lexical representations are not read"),
    "lemma-dim-emb": (0, (0,), NO_FACTORS),
    "factors-dim-emb": (0, (0,), NO_FACTORS),
    "lemma-dependency": ("", ("",), NO_FACTORS),
}
DEPTHS = {"enc-depth": 1, "enc-cell-depth": 1, "dec-depth": 1, "dec-cell-base-depth": 2, "dec-cell-high-depth": 1}
MAX_DEPTH = 64


class RnnOptions(NamedTuple):
    """What the options say of the architecture.

    Args:
        encoder_cell, decoder_cell: ``gru`` or ``lstm``.
        encoder_depth, decoder_depth: numbers of layers.
        encoder_cells, base_cells, high_cells: cells that a step passes through in the encoder's layers, in the
            decoder's first, and in its others.
        alternating: whether the two stacks of the encoder change direction from layer to layer.
        norm: the config's ``cell_norm``.
        skip: whether layers above the first add their input to their output.
    """

    encoder_cell: str
    decoder_cell: str
    encoder_depth: int
    encoder_cells: int
    decoder_depth: int
    base_cells: int
    high_cells: int
    alternating: bool
    norm: str
    skip: bool


def read_rnn_options(options: dict[str, Any], source: str) -> RnnOptions:
    """The architecture of a recurrent model.

    Raises:
        ValueError: an option has no counterpart here; the message names it, its value, and what is read.
    """
    for key, (default, accepted, wanted) in RULES.items():
        _check(key, options.get(key, default), accepted, wanted, source)
    types = options.get("input-types") or []
    if not isinstance(types, list) or any(kind != "sequence" for kind in types):
        raise ValueError(f"input-types is {types!r} in {source}: inputs beside the source text are not supported")
    depths = {key: _depth(key, options.get(key, default), source) for key, default in DEPTHS.items()}
    way = options.get("enc-type", "bidirectional")
    if way == "bi-unidirectional" and depths["enc-depth"] > 1:
        raise ValueError(
            f"enc-type is {way!r} with enc-depth {depths['enc-depth']} in {source}: its upper layers are narrower "
            "than the first; only bidirectional and alternating encoders are read"
        )
    if depths["dec-cell-base-depth"] < 2:
        raise ValueError(f"dec-cell-base-depth must be at least 2, got {depths['dec-cell-base-depth']} in {source}")
    return RnnOptions(
        encoder_cell=CELLS[options.get("enc-cell", "gru")],
        decoder_cell=CELLS[options.get("dec-cell", "gru")],
        encoder_depth=depths["enc-depth"],
        encoder_cells=depths["enc-cell-depth"],
        decoder_depth=depths["dec-depth"],
        base_cells=depths["dec-cell-base-depth"],
        high_cells=depths["dec-cell-high-depth"],
        alternating=way == "alternating",
        norm=_norm(options, depths, source),
        skip=_flag("skip", options, source),
    )


def _norm(options: dict[str, Any], depths: dict[str, int], source: str) -> str:
    if not _flag("layer-normalization", options, source):
        return "none"
    cells = [options.get(key, "gru") for key in ("enc-cell", "dec-cell")]
    nematus = [cell == "gru-nematus" for cell in cells]
    if all(nematus) and options.get("type") == "nematus":
        if depths["dec-cell-high-depth"] > 1:
            raise ValueError(f"dec-cell-high-depth must be 1 for type 'nematus' in {source}")
        return "split_layer_norm"
    if any(nematus):
        raise ValueError(
            f"layer-normalization with cells {cells[0]!r} and {cells[1]!r} in {source}: 'gru-nematus' is normalised "
            "as Nematus does it only in type 'nematus'"
        )
    return "layer_norm"


def _flag(key: str, options: dict[str, Any], source: str) -> bool:
    value = options.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{key} must be true or false, got {value!r} in {source}")
    return value


def _check(key: str, value: Any, accepted: tuple[Any, ...], wanted: str, source: str) -> None:
    # 0 is False and 1 is True for Python, not for YAML
    if not any(value == known and type(value) is type(known) for known in accepted):
        raise ValueError(f"{key} is {value!r} in {source}: {wanted}")


def _depth(key: str, value: Any, source: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_DEPTH:
        raise ValueError(f"{key} must be an integer in [1, {MAX_DEPTH}], got {value!r} in {source}")
    return value
