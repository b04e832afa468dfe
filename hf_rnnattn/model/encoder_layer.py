"""A layer of the encoder: mixers, then feed-forward, each with its norm and residual."""

from typing import Any

from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .feed_forward import build_connection, build_feed_forward
from .mixer_directions import DirectionalMixer
from .mixers import MIXERS, split_mixer


class RnnAttnEncoderLayer(GradientCheckpointingLayer):
    """One layer of the encoder: its mixers, then a feed-forward network."""

    mixers: Any  # a ModuleList, and so is mixer_connections: one connection a mixer
    mixer_connections: Any
    feed_forward_connection: Any

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__()
        size = config.encoder_hidden_size
        input_size = config.embedding_size if layer_idx == 0 else size
        self.mixers = nn.ModuleList()
        self.mixer_connections = nn.ModuleList()
        for name in split_mixer(config.encoder_mixers[layer_idx]):
            self.mixers.append(self._build_mixer(config, name, layer_idx, input_size))
            self.mixer_connections.append(build_connection(config, input_size, size))
            input_size = size
        self.feed_forward = build_feed_forward(config, size, config.encoder_ffn_dim)
        self.feed_forward_connection = build_connection(config, size, size) if self.feed_forward is not None else None

    @staticmethod
    def _build_mixer(config: Any, name: str, layer_idx: int, input_size: int) -> nn.Module:
        size = config.encoder_hidden_size
        if MIXERS[name].kind == "attention":
            mixer: nn.Module = MIXERS[name](
                config,
                input_size=input_size,
                hidden_size=size,
                num_heads=config.encoder_attention_heads,
                dropout=config.attention_dropout,
                is_causal=False,
            )
            return mixer
        return DirectionalMixer.build(
            MIXERS[name],
            input_size=input_size,
            hidden_size=size,
            direction=config.encoder_directions[layer_idx],
            merge=config.encoder_merge,
        )

    def forward(
        self, hidden_states: Tensor, mask: Tensor | None, attention_mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """(B, T, D_in) -> (B, T, D); ``mask`` (B, T) is for recurrences, ``attention_mask`` for self-attention."""
        x: Tensor = hidden_states
        for mixer, connection in zip(self.mixers, self.mixer_connections, strict=True):
            read = connection.enter(x)
            attends = mixer.kind == "attention"
            y = mixer(read, attention_mask, **kwargs)[0] if attends else mixer(read, mask).hidden
            x = connection.leave(x, y)
        if self.feed_forward is not None:
            connection = self.feed_forward_connection
            x = connection.leave(x, self.feed_forward(connection.enter(x)))
        return x
