"""Reading a sequence from the left, from the right, or both, for encoders."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .mixer_base import MixerOutput, RecurrentMixer

DIRECTIONS = ("forward", "backward", "both", "both_swapped")
MERGES = ("concat_project", "concat", "separate", "sum")


class DirectionalMixer(nn.Module):
    """Recurrent cells over a whole sequence, one per direction, and how their outputs become one.

        y_t = forward_t                                   direction "forward"
        y_t = backward_t                                  direction "backward"
        y_t = P [forward_t; backward_t] + p               "both", merge "concat_project": two cells of width D
        y_t = [forward_t; backward_t]                     "both", merge "concat": two cells of width D / 2
        y_t = [forward_t; backward_t]                     "both", merge "separate": the same, and above the first
                                                          layer each reads only its own half of what is below
        y_t = forward_t + backward_t                      "both", merge "sum": two cells of width D

    "both_swapped" is "both" with the halves in the other order: separate stacks that swap in every other layer
    alternate in direction.

    Shapes: x (B, T, D_in), mask (B, T) -> y (B, T, D); the states in which the cells end are returned only on request,
        since a whole sequence is not continued.
    Padding: the backward cell reads x and mask flipped in time and carries its state over masked steps as every cell
        does, so padding on any side changes nothing at real tokens.
    Cost: that of its cells.
    Source: Schuster and Paliwal 1997, Bidirectional Recurrent Neural Networks; Zhou et al. 2016, Deep Recurrent Models
        with Fast-Forward Connections for Neural Machine Translation, for stacks that alternate.
    """

    kind: ClassVar[str] = "recurrent"
    reads_memory: ClassVar[bool] = False

    def __init__(
        self,
        forward_cell: RecurrentMixer | None,
        backward_cell: RecurrentMixer | None,
        merge: str,
        *,
        swapped: bool = False,
        splits: bool = False,
    ) -> None:
        super().__init__()
        self.forward_cell = forward_cell
        self.backward_cell = backward_cell
        self.merge = merge
        self.swapped = swapped  # whether the backward half comes first
        self.splits = splits  # whether each cell reads its own half of the input
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
        first: bool = True,
        **options: Any,
    ) -> "DirectionalMixer":
        """The cells that ``direction`` asks for, with outputs of width ``hidden_size`` after the merge.

        Args:
            cell_class: a recurrent mixer; ``options`` are what its constructor takes beyond the two widths.
            direction: "forward", "backward", "both" or "both_swapped".
            merge: "concat_project", "concat", "separate" or "sum"; only "both" has something to merge.
            first: whether nothing with two halves is below: then "separate" cells read all of the input.

        Raises:
            ValueError: direction or merge is unknown, halves of an odd width, or the cell reads the encoder.
        """
        if direction not in DIRECTIONS:
            raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
        if merge not in MERGES:
            raise ValueError(f"merge must be one of {', '.join(MERGES)}, got {merge!r}")
        if cell_class.reads_memory:
            raise ValueError(f"{cell_class.__name__} attends to the encoder and cannot be a part of it")
        two = direction.startswith("both")
        halved = two and merge in ("concat", "separate")
        if halved and hidden_size % 2:
            raise ValueError(f"hidden_size must be even to be the concatenation of two directions, got {hidden_size}")
        splits = two and merge == "separate" and not first
        if splits and input_size % 2:
            raise ValueError(f"input_size must be even to be read in halves, got {input_size}")
        width = hidden_size // 2 if halved else hidden_size

        def cell() -> Any:
            return cell_class(input_size=input_size // 2 if splits else input_size, hidden_size=width, **options)

        return cls(
            cell() if direction != "backward" else None,
            cell() if direction != "forward" else None,
            merge,
            swapped=direction == "both_swapped",
            splits=splits,
        )

    def forward(self, x: Tensor, mask: Tensor | None = None, return_state: bool = False) -> MixerOutput:
        """x (B, T, D_in), mask (B, T) bool -> hidden (B, T, D).

        With ``return_state`` also what the cells hand on: their ``encoder_states`` after the last step, (B, D) each,
        those of two cells joined. Of cells that attend to themselves also the weights (B, H, T, T), those of two cells
        as heads side by side.
        """
        cells = [(self.forward_cell, False), (self.backward_cell, True)]
        if self.swapped:
            cells.reverse()
        parts = x.chunk(2, -1) if self.splits else (x, x)
        outputs = [
            _read(cell, part, mask, backward, return_state)
            for (cell, backward), part in zip(cells, parts, strict=True)
            if cell is not None
        ]
        handed_on = next(cell for cell, _ in cells if cell is not None).encoder_states if return_state else ()
        state = {name: torch.cat([output.state[name] for output in outputs], dim=-1) for name in handed_on}
        weights = [output.self_weights for output in outputs if output.self_weights is not None]
        return MixerOutput(
            self._merged([output.hidden for output in outputs]),
            state,
            self_weights=torch.cat(weights, dim=1) if weights else None,
        )

    def _merged(self, halves: list[Tensor]) -> Tensor:
        if len(halves) == 1:
            return halves[0]
        if self.merge == "sum":
            return halves[0] + halves[1]
        joined = torch.cat(halves, dim=-1)  # (B, T, 2 D), or (B, T, D) of two halves
        return joined if self.merge_proj is None else self.merge_proj(joined)


def _read(cell: RecurrentMixer, x: Tensor, mask: Tensor | None, backward: bool, return_state: bool) -> MixerOutput:
    """What a cell makes of x, read from the left or from the right."""
    if not backward:
        output: MixerOutput = cell(x, mask, return_state=return_state)
        return output
    output = cell(x.flip(1), None if mask is None else mask.flip(1), return_state=return_state)
    weights = None if output.self_weights is None else output.self_weights.flip(2, 3)
    return output._replace(hidden=output.hidden.flip(1), self_weights=weights)
