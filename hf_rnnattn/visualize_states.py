"""Pictures of what recurrent cells do, token by token: their gates, and where a machine with a memory looks."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .cell_traces import CellTrace
from .picture_labels import FONT, choose_fonts, escape, make_label, make_visible, width_in_inches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOKEN = 0.26  # inches a token takes; a letter of FONT fits
GAP = 0.45  # between two maps, for the title of the lower one
LEAST, MOST = 0.8, 3.0  # inches of a map's height
ROW = 0.12  # of a row in it

Path = str | os.PathLike[str]


def plot_gates(
    trace: CellTrace, letters: Sequence[str] | None = None, path: Path | None = None, *, title: str | None = None
) -> "Figure | str":
    """Heat maps of a cell's gates: tokens from left to right, the cell's units from top to bottom, one map a gate.

    The scale goes from 0, shut, to 1, open. What a gate does when it is open is said by the equations of its cell.

        >>> plot_gates(trace_cells(model, tokenizer, "a text")[0], path="gates.png")

    Args:
        trace: one of ``trace_cells``.
        letters: which of the gates, ``["f", "o"]``; None for all.
        path: where to write the picture; the ending chooses the format (png, pdf, svg, …).
        title: above the picture; the cell's name if None.

    Returns:
        The path, if one was given; else the ``matplotlib.figure.Figure``.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the cell has no gates, or not those that were asked for.
    """
    if not trace.gates:
        raise ValueError(f"{trace.name} has no gates that can be told from its input and its states")
    unknown = set(letters or ()) - trace.gates.keys()
    if unknown:
        raise ValueError(f"letters must be among {', '.join(trace.gates)} for {trace.name}, got {letters!r}")
    shown = {f"gate {key}": gate.T for key, gate in trace.gates.items() if letters is None or key in letters}
    return _finish(_draw(shown, trace.tokens, title or trace.name, "unit", "how far it is open"), path)


def plot_memory(trace: CellTrace, path: Path | None = None, *, title: str | None = None) -> "Figure | str":
    """Heat maps of where a neural Turing machine writes and reads its memory.

    Tokens from left to right, slots from top to bottom. One map a head, the write heads first; the scale goes from 0
    to 1, all of a head's weight on one slot.

        >>> plot_memory(trace_cells(model, None, [5, 7, 6, 3, 5, 7, 6])[0], path="memory.png")

    Args:
        trace: of a cell ``ntm``, one of ``trace_cells``.
        path: where to write the picture; the ending chooses the format (png, pdf, svg, …).
        title: above the picture; the cell's name if None.

    Returns:
        The path, if one was given; else the ``matplotlib.figure.Figure``.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the cell has no memory of slots.
    """
    shown: dict[str, Tensor] = {}
    for kind in ("write", "read"):
        if f"{kind}_weights" not in trace.states:
            raise ValueError(f"{trace.name} has no memory of slots, its states are {', '.join(trace.states)}")
        heads = trace.states[f"{kind}_weights"].unbind(1)  # (T, N) each
        for i, weights in enumerate(heads):
            shown[f"{kind} head {i}" if len(heads) > 1 else f"{kind} head"] = weights.T
    return _finish(_draw(shown, trace.tokens, title or trace.name, "slot", "weight"), path)


def _draw(maps: dict[str, Tensor], tokens: list[str], title: str, rows: str, meaning: str) -> "Figure":
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install hf-rnnattn[viz]") from error

    families, drawable = choose_fonts({*title, *"".join(map(make_visible, tokens))})
    names = [make_label(token, drawable) for token in tokens]
    style: dict[str, Any] = {"fontsize": FONT, "fontfamily": families, "parse_math": False}

    # All in inches, from the bottom: the tokens, then the maps from the last to the first, above each its name.
    heights = [min(MOST, max(LEAST, ROW * len(matrix))) for matrix in maps.values()]
    map_width = TOKEN * max(6, len(names))
    left, right = 0.6, 1.1
    bottom, top = 0.25 + max(map(width_in_inches, names)), 0.7
    width = max(left + map_width + right, width_in_inches(title) + 0.4)
    height = bottom + sum(heights) + GAP * (len(heights) - 1) + top

    figure = Figure(figsize=(width, height), dpi=150)
    FigureCanvasAgg(figure)
    edge = height - top
    for (name, matrix), tall in zip(maps.items(), heights, strict=True):
        edge -= tall
        axes = figure.add_axes((left / width, edge / height, map_width / width, tall / height))
        image = axes.imshow(matrix.numpy(), cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto", interpolation="nearest")
        axes.set_title(name, loc="left", pad=3, **style)
        axes.set_ylabel(rows, **style)
        axes.tick_params(length=0, labelsize=FONT)
        axes.set_xticks([])
        edge -= GAP
    axes.set_xticks(range(len(names)), names, **style)
    for tick, text in zip(axes.get_xticklabels(), names, strict=True):
        tick.set_rotation(0 if len(text) <= 2 else 90)
    figure.suptitle(escape(title, drawable), y=1 - 0.12 / height, va="top", **{**style, "fontsize": FONT + 1})
    bar = figure.add_axes(
        ((left + map_width + 0.2) / width, (height - top - heights[0]) / height, 0.13 / width, heights[0] / height)
    )
    figure.colorbar(image, cax=bar, label=meaning).ax.tick_params(labelsize=FONT)
    return figure


def _finish(figure: "Figure", path: Path | None) -> "Figure | str":
    if path is None:
        return figure
    figure.savefig(path, bbox_inches="tight")
    return os.fspath(path)
