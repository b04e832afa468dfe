"""The names that amun and Nematus gave to the weights that Marian calls otherwise."""

import re
from dataclasses import replace
from typing import Any

from .marian_checkpoint import MarianCheckpoint

OLD_TYPES = ("amun", "nematus")
DUMMIES = ("decoder_c_tt", "uidx", "history_errs")  # of no use to anyone but amun and Nematus

# (pattern of the old name, the new one); the first that fits decides
RENAMED = (
    (r"encoder(_r)?_(U|Ux|W|Wx)(_lns|_lnb)?", r"encoder_bi\1_\2\3"),
    (r"encoder(_r)?_(b|bx|gamma1|gamma2)", r"encoder_bi\1_\2"),
    (r"decoder_(U|Ux|W|Wx)(_lns|_lnb)?", r"decoder_cell1_\1\2"),
    (r"decoder_(b|bx)", r"decoder_cell1_\1"),
    (r"decoder_(U|Ux)_nl(_lns|_lnb)?", r"decoder_cell2_\1\2"),
    (r"decoder_(b|bx)_nl", r"decoder_cell2_\1"),
    (r"decoder_Wc(x?)(_lns|_lnb)?", r"decoder_cell2_W\1\2"),
    (r"ff_state_(W|b|gamma|ln_s|ln_b)", r"decoder_ff_state_\1"),
    (r"ff_logit_(W|b)", r"decoder_ff_logit_l2_\1"),
    (r"ff_logit_l1_gamma([012])", r"decoder_ff_logit_l1_gamma\1"),
    *(
        (rf"ff_logit_{part}_(W|b|ln_s|ln_b)", rf"decoder_ff_logit_l1_\g<1>{number}")
        for number, part in enumerate(("prev", "lstm", "ctx"))
    ),
    (r"Wemb_dec", "decoder_Wemb"),
)
# Cells of a deep transition, which count from 1 after those that have an input.
DEEP = (
    (r"encoder(_r)?_(U|Ux|b|bx)_drt_(\d+)(_lns|_lnb)?", "encoder_bi{0}_cell{3}_{1}{2}", 1),
    (r"decoder_(U|Ux|b|bx)_nl_drt_(\d+)(_lns|_lnb)?", "decoder_cell{2}_{0}{1}", 2),
)


def with_new_names(checkpoint: MarianCheckpoint) -> MarianCheckpoint:
    """A checkpoint of type amun or nematus under Marian's names; any other as it is.

    Raises:
        ValueError: two weights have the same name then.
    """
    options = checkpoint.options
    if options.get("type", "amun") not in OLD_TYPES:
        return checkpoint
    shared = bool(options.get("tied-embeddings-src") or options.get("tied-embeddings-all"))
    tensors: dict[str, Any] = {}
    for name, values in checkpoint.tensors.items():
        if name in DUMMIES:
            continue
        new = _new_name(name, shared)
        if new in tensors:
            raise ValueError(f"{checkpoint.source} has two weights for {new}, one of them as {name}")
        tensors[new] = values
    dropped = tuple(sorted({*checkpoint.dropped, *(checkpoint.tensors.keys() & set(DUMMIES))}))
    return replace(checkpoint, tensors=tensors, dropped=dropped)


def _new_name(name: str, shared: bool) -> str:
    if name == "Wemb" and not shared:
        return "encoder_Wemb"
    for pattern, new in RENAMED:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(new)
    for pattern, new, added in DEEP:
        match = re.fullmatch(pattern, name)
        if match:
            *parts, number, norm = [group or "" for group in match.groups()]
            return new.format(*parts, norm, int(number) + added)
    return name
