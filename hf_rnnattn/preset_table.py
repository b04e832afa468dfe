"""The table that ``python -m hf_rnnattn presets`` prints."""

import torch

from .presets import PRESETS, preset_model


def preset_table() -> str:
    """Name, number of parameters and description of every preset, one a line.

    Models are built without memory for their weights. Sizes are those of the preset's own vocabulary, or of the
    config's default of 32,000 words.
    """
    rows = []
    for name, preset in PRESETS.items():
        with torch.device("meta"):
            model = preset_model(name)
        rows.append((name, f"{model.num_parameters() / 1e6:.1f} M", preset.system, preset.source))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"{name:<{widths[0]}}  {size:>{widths[1]}}  {system:<{widths[2]}}  {source}"
        for name, size, system, source in rows
    ]
    return "\n".join(lines)
