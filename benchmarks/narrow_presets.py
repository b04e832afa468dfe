"""Presets at narrow widths, for tasks that are learnt within minutes."""

from typing import Any

from hf_rnnattn.presets import PRESETS, preset_model


def narrow(name: str, *, width: int, layers: int, **overrides: Any) -> Any:
    """The preset with one width for all, at most so many layers a side, 4 heads, and no dropout.

    Feed-forward networks are twice as wide, where the preset has them.
    """
    own = PRESETS[name].fields
    fields: dict[str, Any] = {"hidden_size": width, "dropout": 0.0}
    fields |= {"encoder_hidden_size": width, "embedding_size": width, "attention_size": width}
    for side in ("encoder", "decoder"):
        fields[f"{side}_mixers"] = own[f"{side}_mixers"][:layers]
        fields[f"{side}_attention_heads"] = 4
        fields[f"{side}_ffn_dim"] = 2 * width if own.get(f"{side}_ffn_dim", width) else 0
    if own.get("decoder_cell_depths", 0) > layers:
        fields["decoder_cell_depths"] = layers
    return preset_model(name, **{**fields, **overrides})
