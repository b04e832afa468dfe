"""Pictures of what a model attended to."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from .picture_labels import FONT, choose_fonts, escape, make_label, make_visible, width_in_inches

if TYPE_CHECKING:
    from matplotlib.figure import Figure


CELL = 0.26  # inches a token takes on either axis; a letter of FONT fits


def plot_alignment(
    alignment: Any,
    source_tokens: Sequence[str] | None = None,
    target_tokens: Sequence[str] | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    title: str = "Attention of each produced token to the source",
) -> "Figure | str":
    """Heat map of an alignment: source tokens from left to right, produced tokens from top to bottom.

    Nothing global of matplotlib is touched, and no display is needed. The scale goes from 0 to the largest weight.
    Spaces and line breaks are made visible, labels over 24 characters are cut in the middle, and characters that no
    installed font can draw are written as ``\\u4e2d``.

        >>> plot_alignment(align(model, tokenizer, "a text")[0], path="alignment.png")

    Args:
        alignment: an ``Alignment`` (of ``align`` or of the pipeline's ``return_alignments=True``), or a matrix
            (target length, source length).
        source_tokens, target_tokens: the labels; needed for a matrix, and in place of an ``Alignment``'s own.
        path: where to write the picture; the ending chooses the format (png, pdf, svg, …).
        title: above the picture.

    Returns:
        The path, if one was given; else the ``matplotlib.figure.Figure``.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: a matrix came without tokens.
        ValueError: the matrix does not have a row per target token and a column per source token, or has none.
    """
    weights = torch.as_tensor(getattr(alignment, "weights", alignment)).detach().float().cpu()
    sources = _tokens("source_tokens", source_tokens, alignment)
    targets = _tokens("target_tokens", target_tokens, alignment)
    if weights.shape != (len(targets), len(sources)):
        raise ValueError(
            f"alignment has shape {tuple(weights.shape)}, but there are {len(targets)} target_tokens and "
            f"{len(sources)} source_tokens"
        )
    if weights.numel() == 0:
        raise ValueError(f"alignment must have at least one row and one column, got shape {tuple(weights.shape)}")
    figure = _draw(weights, sources, targets, title)
    if path is None:
        return figure
    figure.savefig(path, bbox_inches="tight")
    return os.fspath(path)


def _tokens(name: str, given: Sequence[str] | None, alignment: Any) -> list[str]:
    tokens = given if given is not None else getattr(alignment, name, None)
    if tokens is None:
        raise TypeError(f"{name} must be given with a matrix of weights")
    return [str(token) for token in tokens]


def _draw(weights: torch.Tensor, sources: list[str], targets: list[str], title: str) -> "Figure":
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plot_alignment needs matplotlib: pip install hf-rnnattn[viz]") from error

    fonts, drawable = choose_fonts({*title, *"".join(map(make_visible, (*sources, *targets)))})
    columns = [make_label(token, drawable) for token in sources]
    rows = [make_label(token, drawable) for token in targets]
    title = escape(title, drawable)
    style = {"fontsize": FONT, "fontfamily": fonts, "parse_math": False}

    # All in inches: the map, below and left of it its labels, right of it the colour bar.
    cell = max(CELL, 1.5 / max(len(rows), len(columns)))
    map_width, map_height = cell * len(columns), cell * len(rows)
    bar_height = min(3.0, max(1.5, map_height))
    left, right = 0.5 + max(map(width_in_inches, rows)), 1.2
    bottom, top = 0.5 + max(map(width_in_inches, columns)), 0.45
    width = max(left + map_width + right, width_in_inches(title) + 0.4)
    height = bottom + max(map_height, bar_height) + top
    middle = bottom + max(map_height, bar_height) / 2

    figure = Figure(figsize=(width, height), dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((left / width, (middle - map_height / 2) / height, map_width / width, map_height / height))
    image = axes.imshow(weights.numpy(), cmap="Blues", vmin=0.0, vmax=float(weights.max()) or 1.0, aspect="auto")
    _name_cells(axes, columns, rows, style)
    figure.suptitle(title, y=1 - 0.15 / height, va="top", **{**style, "fontsize": FONT + 1})
    bar_axes = figure.add_axes(
        ((left + map_width + 0.2) / width, (middle - bar_height / 2) / height, 0.13 / width, bar_height / height)
    )
    figure.colorbar(image, cax=bar_axes, label="attention weight").ax.tick_params(labelsize=FONT)
    return figure


def _name_cells(axes: Any, columns: list[str], rows: list[str], style: dict[str, Any]) -> None:
    axes.set_xlabel("source")
    axes.set_ylabel("produced")
    axes.set_xticks(range(len(columns)), columns, **style)
    axes.set_yticks(range(len(rows)), rows, **style)
    for label, text in zip(axes.get_xticklabels(), columns, strict=True):
        label.set_rotation(0 if len(text) <= 2 else 90)
    # A thin grid leads the eye from a cell to its labels.
    axes.set_xticks([x - 0.5 for x in range(1, len(columns))], minor=True)
    axes.set_yticks([y - 0.5 for y in range(1, len(rows))], minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.5)
    axes.tick_params(which="both", length=0)
