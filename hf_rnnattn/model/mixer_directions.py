"""Reading a sequence from the left, from the right, or both, for encoders."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .mixer_base import MixerOutput, RecurrentMixer

DIRECTIONS = ("forward", "backward", "both")
MERGES = ("concat_project", "concat", "sum")


class DirectionalMixer(nn.Module):
    """Recurrent cells over a whole sequence, one per direction, and how their outputs become one.

        y_t = forward_t                                   direction "forward"
        y_t = backward_t                                  direction "backward"
        y_t = P [forward_t; backward_t] + p               "both", merge "concat_project": two cells of width D
        y_t = [forward_t; backward_t]                     "both", merge "concat": two cells of width D / 2
        y_t = forward_t + backward_t                      "both", merge "sum": two cells of width D

    Shapes: x (B, T, D_in), mask (B, T) -> y (B, T, D); no state is returned, since a whole sequence is not continued.
    Padding: the backward cell reads x and mask flipped in time and carries its state over masked steps as every cell
        does, so padding on any side changes nothing at real tokens.
    Cost: that of its cells.
    Source: Schuster and Paliwal 1997, Bidirectional Recurrent Neural Networks.
    """

    kind: ClassVar[str] = "recurrent"
    reads_memory: ClassVar[bool] = False

    def __init__(self, forward_cell: RecurrentMixer | None, backward_cell: RecurrentMixer | None, merge: str) -> None:
        super().__init__()
        self.forward_cell = forward_cell
        self.backward_cell = backward_cell
        self.merge = merge
        cells = [cell for cell in (forward_cell, backward_cell) if cell is not None]
        width = cells[0].hidden_size
        self.merge_proj = nn.Linear(2 * width, width) if len(cells) == 2 and merge == "concat_project" else None

    @classmethod
    def build(
        cls,
        cell_class: type[Any],
        *,
        input_size: int,
        hidden_size: int,
        direction: str = "both",
        merge: str = "concat_project",
        **sizes: int,
    ) -> "DirectionalMixer":
        """The cells that ``direction`` asks for, with outputs of width ``hidden_size`` after the merge.

        Args:
            cell_class: a recurrent mixer; ``sizes`` are what its constructor takes beyond the two widths.
            direction: "forward", "backward" or "both".
            merge: "concat_project", "concat" or "sum"; only "both" has something to merge.

        Raises:
            ValueError: direction or merge is unknown, "concat" of an odd width, or the cell reads the encoder.
        """
        if direction not in DIRECTIONS:
            raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
        if merge not in MERGES:
            raise ValueError(f"merge must be one of {', '.join(MERGES)}, got {merge!r}")
        if cell_class.reads_memory:
            raise ValueError(f"{cell_class.__name__} attends to the encoder and cannot be a part of it")
        halved = direction == "both" and merge == "concat"
        if halved and hidden_size % 2:
            raise ValueError(f"hidden_size must be even to be the concatenation of two directions, got {hidden_size}")
        width = hidden_size // 2 if halved else hidden_size

        def cell() -> Any:
            return cell_class(input_size=input_size, hidden_size=width, **sizes)

        return cls(cell() if direction != "backward" else None, cell() if direction != "forward" else None, merge)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> MixerOutput:
        """x (B, T, D_in), mask (B, T) bool -> hidden (B, T, D)."""
        halves = []
        if self.forward_cell is not None:
            halves.append(self.forward_cell(x, mask, return_state=False).hidden)
        if self.backward_cell is not None:
            flipped = self.backward_cell(x.flip(1), None if mask is None else mask.flip(1), return_state=False)
            halves.append(flipped.hidden.flip(1))
        if len(halves) == 1:
            return MixerOutput(halves[0], {})
        if self.merge == "sum":
            return MixerOutput(halves[0] + halves[1], {})
        joined = torch.cat(halves, dim=-1)  # (B, T, 2 D), or (B, T, D) of two halves
        return MixerOutput(joined if self.merge_proj is None else self.merge_proj(joined), {})
