"""Architectures with recurrence and self-attention in one cell."""

from .preset_fields import BARE, Preset

FUSED: dict[str, Preset] = {
    "fused": Preset(
        "recurrence and self-attention in one cell on both sides, multi-head attention between them",
        "the cell of this package; its nearest kin: Cheng et al. 2016, LSTM-Networks for Machine Reading",
        {**BARE, "encoder_mixers": ["fused"], "encoder_directions": "both", "decoder_mixers": ["fused"]},
    ),
}
