"""The states in which recurrent layers of the decoder start: zeros, or made of what the encoder says."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .inputs import first_and_last, mean_over_real
from .mixers import cell_depth, encoder_states, recurs, split_mixer
from .norms import build_cell_norm
from .notation import State
from .source_order import REVERSED_ENDS

Summary = Callable[[Tensor, Tensor | None], Tensor]  # memory (B, S, C), mask (B, S) -> (B, C)
# (projection, names of the states, number of the first of the encoder's states, summary) -> states
Start = Callable[[Any, tuple[str, ...], int, Tensor], State]


def start_from_summary(projection: Any, names: tuple[str, ...], column: int, summary: Tensor) -> State:
    """The same for all: tanh of a projection of one vector (B, C)."""
    start = torch.tanh(projection(summary))
    # Copies: one tensor under two names would be taken for one state by torch.export.
    return {name: start.clone() for name in names}


def start_linearly(projection: Any, names: tuple[str, ...], column: int, summary: Tensor) -> State:
    """The same for all: a projection of one vector (B, C), without an activation."""
    return dict.fromkeys(names, projection(summary))


def start_from_states(projection: Any, names: tuple[str, ...], column: int, summary: Tensor) -> State:
    """Each from its own among the encoder's states (B, N, C), those from number ``column`` on."""
    return {
        name: project(summary[:, column + i]) for i, (name, project) in enumerate(zip(names, projection, strict=True))
    }


STARTS: dict[str, Start] = {
    "zeros": start_from_summary,  # never called: there is no summary
    "mean": start_from_summary,
    "last": start_from_summary,
    "last_linear": start_linearly,
    "encoder_state": start_from_states,
    "context": start_from_summary,  # the context vector is the summary
}


def start_names(config: Any, mixer: Any) -> tuple[str, ...]:
    """Which states of a mixer do not start at zero."""
    if mixer.kind == "attention":
        return ()
    every = config.decoder_init == "encoder_state" or config.decoder_init_cell
    names: tuple[str, ...] = mixer.encoder_states if every else mixer.initialised_states
    return names


def build_projection(config: Any, mixer: Any) -> nn.Module:
    """What a summary of the encoder passes through on its way to a mixer's states."""
    names, source, size = start_names(config, mixer), config.encoder_hidden_size, config.hidden_size
    if config.decoder_init == "zeros" or not names:
        return nn.Identity()
    if config.decoder_init == "encoder_state":
        return nn.ModuleList([nn.Identity() if source == size else nn.Linear(source, size) for _ in names])
    projection = nn.Linear(source, size)
    if config.cell_norm == "none":
        return projection
    return nn.Sequential(projection, build_cell_norm(config.cell_norm, [size], config.layer_norm_eps))


def first_columns(config: Any, layer_idx: int) -> list[int]:
    """For each mixer of a layer of the decoder, how many of the encoder's states belong to mixers before it."""
    column, columns = 0, []
    for i, entry in enumerate(config.decoder_mixers[: layer_idx + 1]):
        depth = cell_depth(config.decoder_cell_depths, entry, i)
        for name in split_mixer(entry):
            if i == layer_idx:
                columns.append(column)
            column += len(encoder_states(name, depth))
    return columns


def build_summary(config: Any) -> Summary | None:
    """What makes one vector (B, C) of the encoder's output; None where none is needed, or where it is made already."""
    last = last_of_encoder(config)
    summaries: dict[str, Summary] = {"mean": mean_over_real, "last": last, "last_linear": last}
    return summaries.get(config.decoder_init)


def last_of_encoder(config: Any) -> Summary:
    """What picks the encoder's output where it ended: see ``where_it_ended``."""
    own = config.is_encoder_decoder  # else the encoder is another model, which this config does not describe
    return partial(where_it_ended, encoder_ends(config) if own else "last")


def encoder_ends(config: Any) -> str:
    """Where the encoder's last layer ends: at the ``last`` real token, at the ``first``, or each half at its own.

    That is ``both``, or ``both_swapped`` where the half that ends at the first token comes first.
    """
    ends = _last_layer_ends(config)
    return REVERSED_ENDS[ends] if config.source_order == "reversed" else ends


def _last_layer_ends(config: Any) -> str:
    """The same among the places at which the encoder reads."""
    if not config.encoder_layers or not recurs(config.encoder_mixers[-1]):
        return "last"
    direction = config.encoder_directions[-1]
    if direction.startswith("both"):
        return direction if config.encoder_merge in ("concat", "separate") else "last"
    return "first" if direction == "backward" else "last"


def where_it_ended(ends: str, memory: Tensor, mask: Tensor | None) -> Tensor:
    """The encoder's output (B, C) where its last layer ended: see ``encoder_ends``."""
    first, last = first_and_last(memory, mask)
    if ends.startswith("both"):
        half = memory.shape[-1] // 2
        left, right = (first, last) if ends == "both_swapped" else (last, first)
        return torch.cat([left[:, :half], right[:, half:]], dim=-1)
    return first if ends == "first" else last
