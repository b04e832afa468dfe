"""Presets at narrow widths, for tasks that are learnt within minutes."""

from typing import Any

from hf_rnnattn.presets import PRESETS, preset_model

# With the config's 0.02, layers so narrow that nothing normalises pass on signals so small that for hundreds of steps
# a model learns no more than how frequent each token is.
INIT_STD = {"without norms": 0.3, "with norms": 0.125}


def has_norms(name: str) -> str:
    """``with norms`` or ``without norms``, as the preset's layers are."""
    return "without norms" if PRESETS[name].fields.get("norm_position") == "none" else "with norms"


def narrow(name: str, *, width: int, layers: int, **overrides: Any) -> Any:
    """The preset with one width for all, at most so many layers a side, 4 heads, and no dropout.

    Feed-forward networks are twice as wide, where the preset has them. Weights start as wide as ``INIT_STD`` says.
    """
    own = PRESETS[name].fields
    fields: dict[str, Any] = {"hidden_size": width, "dropout": 0.0, "init_std": INIT_STD[has_norms(name)]}
    fields |= {"encoder_hidden_size": width, "embedding_size": width, "attention_size": width}
    for side in ("encoder", "decoder"):
        fields[f"{side}_mixers"] = own[f"{side}_mixers"][:layers]
        fields[f"{side}_attention_heads"] = 4
        fields[f"{side}_ffn_dim"] = 2 * width if own.get(f"{side}_ffn_dim", width) else 0
    if own.get("decoder_cell_depths", 0) > layers:
        fields["decoder_cell_depths"] = layers
    return preset_model(name, **{**fields, **overrides})
