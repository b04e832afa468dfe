"""Small pictures: panels side by side, each a heat map, in files of a few kilobytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageOps

DPI, CELL, FONT = 140, 0.21, 8  # dots an inch; inches a cell; points
COLOURS, MARGIN = 64, 8  # the margin in dots


@dataclass(frozen=True)
class Panel:
    """One heat map.

    Args:
        values: (rows, columns).
        rows, columns: their names; none, where there are too many to read.
        title: above it.
        down, across: what rows and columns are.
        signed: whether values from -1 to 1 are shown, blue and red, in place of 0 to the largest.
    """

    values: Any
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    title: str = ""
    down: str = ""
    across: str = ""
    signed: bool = False

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches; rows and columns without a name are thin."""
        rows, columns = np.asarray(self.values).shape
        wide, high = (min(2.2, 0.05 * count) for count in (columns, rows))
        return CELL * columns if self.columns else wide, CELL * rows if self.rows else high

    @property
    def left(self) -> float:
        """Room for the names of its rows, and of what they are."""
        return 0.085 * max((len(row) for row in self.rows), default=0) + (0.35 if self.down else 0.15)

    @property
    def below(self) -> float:
        """Room for the names of its columns."""
        longest = max((len(column) for column in self.columns), default=0)
        return (0.2 if longest <= 2 else 0.085 * longest + 0.1) + (0.2 if self.across else 0.0)


def draw_panels(panels: Sequence[Panel], path: Path) -> Path:
    """The panels from left to right, their tops in one line."""
    gap, top = 0.2, 0.3
    widths = [panel.left + max(panel.size[0], 0.075 * len(panel.title)) + gap for panel in panels]
    height = top + max(panel.size[1] + panel.below for panel in panels) + 0.05
    figure = new_figure(sum(widths), height)
    x = 0.0
    for panel, width in zip(panels, widths, strict=True):
        wide, high = panel.size
        box = (x + panel.left) / sum(widths), (height - top - high) / height, wide / sum(widths), high / height
        draw_panel(figure.add_axes(box), panel)
        x += width
    return save(figure, path)


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches, that no display is needed for."""
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def draw_panel(axes: Any, panel: Panel) -> None:
    """One heat map with its names."""
    values = np.asarray(panel.values, dtype=float)
    colours = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1} if panel.signed else {"cmap": "Blues", "vmin": 0}
    axes.imshow(values, aspect="auto", interpolation="nearest", **colours)
    axes.set_title(panel.title, fontsize=FONT + 1, loc="left")
    axes.set_xticks(range(len(panel.columns)), panel.columns, fontsize=FONT)
    axes.set_yticks(range(len(panel.rows)), panel.rows, fontsize=FONT)
    if any(len(column) > 2 for column in panel.columns):
        for label in axes.get_xticklabels():
            label.set_rotation(90)
    axes.set_xlabel(panel.across, fontsize=FONT)
    axes.set_ylabel(panel.down, fontsize=FONT)
    axes.tick_params(length=0, pad=2)


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as a PNG of few colours."""
    drawn = BytesIO()
    figure.savefig(drawn, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.open(drawn).convert("RGB")
    drawn_part = ImageOps.invert(image).getbbox()
    image = ImageOps.expand(image.crop(drawn_part), border=MARGIN, fill="white")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    return path
