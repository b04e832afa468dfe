"""Which weights of Marian's recurrent models are which weights of this family.

Marian stores matrices ``[in, out]`` and everything else ``[1, out]``. Its GRU has the gates r and z in one matrix and
the candidate in another; its LSTM has the gates f, i, c, o in one, ours i, f, g, o.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .weight_table import Weight

Make = Callable[..., Tensor]
LAYERS = "model.{side}.layers.{layer}.mixers.0"
READ = ("W0", "W1", "W2")  # of the token, of the state, of the context


class Cell(NamedTuple):
    """One cell of Marian.

    Args:
        name: what its weights begin with.
        kind: ``gru`` or ``lstm``.
        norm: ``none``, ``layer_norm`` (Marian's) or ``split_layer_norm`` (Nematus').
        reads: whether it has an input.
        final: whether the candidate's bias of a GRU stands with the state; so in all cells of the decoder's first
            layer but the first.
        encoder: on which side it is.
    """

    name: str
    kind: str
    norm: str
    reads: bool
    final: bool
    encoder: bool


def matrix(*parts: Tensor) -> Tensor:
    """Matrices side by side, turned round."""
    return torch.cat(parts, dim=-1).T


def vector(*parts: Tensor) -> Tensor:
    """Vectors one after another."""
    return torch.cat([part.flatten() for part in parts])


def reordered(make: Make) -> Make:
    """``make`` of the gates f, i, c, o in the order i, f, c, o."""

    def made(part: Tensor) -> Tensor:
        f, i, c, o = part.chunk(4, dim=-1)
        return make(torch.cat([i, f, c, o], dim=-1))

    return made


def gates_only(b: Tensor) -> Tensor:
    """The biases of r and z, and zeros for the candidate's."""
    return torch.cat([b.flatten(), b.new_zeros(b.numel() // 2)])


def candidate_only(bx: Tensor) -> Tensor:
    """Zeros for the biases of r and z, and the candidate's."""
    return torch.cat([bx.new_zeros(2 * bx.numel()), bx.flatten()])


def rows(count: int) -> Make:
    """A table with rows of zeros up to so many."""
    return lambda table: torch.cat([table, table.new_zeros(count - len(table), table.shape[1])])


def filled(count: int, value: float) -> Make:
    """A vector filled up to so many numbers."""
    return lambda bias: torch.cat([bias.flatten(), bias.new_full((count - bias.numel(),), value)])


def cell(target: str, of: Cell) -> Iterator[Weight]:
    """The weights of one cell, at the module ``target``."""
    yield from {"gru": _gru, "lstm": _lstm}[of.kind](target, of)


def _gru(target: str, of: Cell) -> Iterator[Weight]:
    b, bx = f"{of.name}_b", f"{of.name}_bx"
    if of.reads:
        yield Weight(f"{target}.input_to_gates.weight", (f"{of.name}_W", f"{of.name}_Wx"), matrix)
    yield Weight(f"{target}.state_to_gates.weight", (f"{of.name}_U", f"{of.name}_Ux"), matrix)
    if of.norm == "split_layer_norm":
        yield from _nematus_biases(target, of)
        return
    entering = Weight("", (b,), gates_only) if of.final else Weight("", (b, bx), vector)
    recurrent = Weight("", (bx,), candidate_only) if of.final else Weight("", ())
    yield from _biases(target, of, entering, recurrent, vector)


def _lstm(target: str, of: Cell) -> Iterator[Weight]:
    if of.reads:
        yield Weight(f"{target}.input_to_gates.weight", (f"{of.name}_W",), reordered(matrix))
    yield Weight(f"{target}.state_to_gates.weight", (f"{of.name}_U",), reordered(matrix))
    entering = Weight("", (f"{of.name}_b",), reordered(vector))
    yield from _biases(target, of, entering, Weight("", ()), reordered(vector))


def _biases(target: str, of: Cell, entering: Weight, recurrent: Weight, scale: Make) -> Iterator[Weight]:
    """The biases, which are shifts of the norms where there are norms; those have the scales gamma."""
    normed = of.norm == "layer_norm"
    if of.reads:
        yield entering._replace(target=f"{target}.input_norm.bias" if normed else f"{target}.input_to_gates.bias")
        if normed:
            yield Weight(f"{target}.input_to_gates.bias", ())
            yield Weight(f"{target}.input_norm.weight", (f"{of.name}_gamma1",), scale)
    else:
        yield entering._replace(target=f"{target}.input_bias")
    yield recurrent._replace(target=f"{target}.state_norm.bias" if normed else f"{target}.state_to_gates.bias")
    if normed:
        yield Weight(f"{target}.state_to_gates.bias", ())
        yield Weight(f"{target}.state_norm.weight", (f"{of.name}_gamma2",), scale)


def _nematus_biases(target: str, of: Cell) -> Iterator[Weight]:
    """Biases inside of the norms, which have scales and shifts of their own; gates and candidate are apart."""
    b = (f"{of.name}_b", f"{of.name}_bx")
    with_state = of.final or not (of.encoder or of.reads)
    if of.reads:
        yield Weight(f"{target}.input_to_gates.bias", () if with_state else b, vector)
        yield from _split_norm(f"{target}.input_norm", of.name, "W")
    else:
        yield Weight(f"{target}.input_bias", () if with_state else b, vector)
    yield Weight(f"{target}.state_to_gates.bias", b if with_state else (), vector)
    yield from _split_norm(f"{target}.state_norm", of.name, "U")


def _split_norm(target: str, name: str, letter: str) -> Iterator[Weight]:
    for ours, theirs in (("weight", "lns"), ("bias", "lnb")):
        yield Weight(f"{target}.{ours}", (f"{name}_{letter}_{theirs}", f"{name}_{letter}x_{theirs}"), vector)


def attention(target: str, name: str, norm: str) -> Iterator[Weight]:
    """The additive score."""
    for ours, theirs in (("query_proj", "W_comb_att"), ("key_proj", "Wc_att"), ("score_proj", "U_att")):
        yield Weight(f"{target}.{ours}.weight", (f"{name}_{theirs}",), matrix)
    bias = (f"{name}_b_att",)
    yield Weight(f"{target}.key_proj.bias", () if norm == "layer_norm" else bias, vector)
    if norm == "layer_norm":
        yield Weight(f"{target}.key_norm.weight", (f"{name}_att_gamma1",), vector)
        yield Weight(f"{target}.key_norm.bias", bias, vector)
        yield Weight(f"{target}.query_norm.weight", (f"{name}_att_gamma2",), vector)
        yield Weight(f"{target}.query_norm.bias", ())
    elif norm == "split_layer_norm":
        for part, theirs in (("key_norm", "Wc_att"), ("query_norm", "W_comb_att")):
            yield Weight(f"{target}.{part}.weight", (f"{name}_{theirs}_lns",), vector)
            yield Weight(f"{target}.{part}.bias", (f"{name}_{theirs}_lnb",), vector)


def dense(linear: str, normed: str, name: str, number: str, norm: str) -> Iterator[Weight]:
    """A projection, at ``linear``, and its norm, at ``normed``."""
    bias = (f"{name}_b{number}",)
    yield Weight(f"{linear}.weight", (f"{name}_W{number}",), matrix)
    yield Weight(f"{linear}.bias", () if norm == "layer_norm" else bias, vector)
    if norm == "layer_norm":
        yield Weight(f"{normed}.weight", (f"{name}_gamma{number}",), vector)
        yield Weight(f"{normed}.bias", bias, vector)
    elif norm == "split_layer_norm":
        yield Weight(f"{normed}.weight", (f"{name}_ln_s{number}",), vector)
        yield Weight(f"{normed}.bias", (f"{name}_ln_b{number}",), vector)
