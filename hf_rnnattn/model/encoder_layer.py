"""A layer of the encoder: mixers, then feed-forward, each with its norm and residual."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput

from .feed_forward import adds_input, build_connection, build_feed_forward
from .mixer_directions import DirectionalMixer
from .mixers import MIXERS, attention_options, cell_depth, cell_options, slot_options, split_mixer


@dataclass
class RnnAttnEncoderOutput(BaseModelOutput):
    """What the encoder returns.

    final_states: (B, N, C), the states in which its recurrent cells ended, an LSTM's h before its c; None where the
        decoder does not start from them.
    source_ids: (B, S), the ids that were read; None where the decoder does not copy them.
    memory_mask: (B, S) bool, where segments became a slot that the decoder may read; None where the tokens are.
    """

    final_states: torch.Tensor | None = None
    source_ids: torch.Tensor | None = None
    memory_mask: torch.Tensor | None = None


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
        adds = adds_input(config, layer_idx)
        for i, name in enumerate(split_mixer(config.encoder_mixers[layer_idx])):
            self.mixers.append(self._build_mixer(config, name, layer_idx, input_size, first=layer_idx + i == 0))
            self.mixer_connections.append(build_connection(config, input_size, size, residual=adds))
            input_size = size
        self.feed_forward = build_feed_forward(config, size, config.encoder_ffn_dim)
        self.feed_forward_connection = (
            None if self.feed_forward is None else build_connection(config, size, size, residual=adds)
        )

    @staticmethod
    def _build_mixer(config: Any, name: str, layer_idx: int, input_size: int, *, first: bool) -> nn.Module:
        size = config.encoder_hidden_size
        if MIXERS[name].kind == "attention":
            mixer: nn.Module = MIXERS[name](
                config,
                input_size=input_size,
                hidden_size=size,
                num_heads=config.encoder_attention_heads,
                dropout=config.attention_dropout,
                is_causal=False,
                **attention_options(name, config.attention_window),
            )
            return mixer
        options: dict[str, Any] = {}
        if MIXERS[name].keeps_keys:
            options = {"num_heads": config.encoder_attention_heads, "dropout": config.attention_dropout}
            options["second_pass"] = True
        if MIXERS[name].takes_blocks:
            options["num_blocks"] = config.encoder_attention_heads
        return DirectionalMixer.build(
            MIXERS[name],
            input_size=input_size,
            hidden_size=size,
            direction=config.encoder_directions[layer_idx],
            merge=config.encoder_merge,
            first=first,
            **options,
            **cell_options(
                name,
                depth=cell_depth(config.encoder_cell_depths, config.encoder_mixers[layer_idx], layer_idx),
                cell_norm=config.cell_norm,
                norm_eps=config.layer_norm_eps,
            ),
            **slot_options(
                name,
                memory_slots=config.memory_slots,
                memory_slot_size=config.memory_slot_size,
                memory_heads=config.memory_heads,
            ),
        )

    def forward(
        self,
        hidden_states: Tensor,
        mask: Tensor | None,
        attention_masks: dict[str, Any],
        return_state: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, ...]:
        """(B, T, D_in) -> (B, T, D), and with ``return_state`` the states (B, D) in which its recurrences end.

        ``mask`` (B, T) is for recurrences, ``attention_masks`` for self-attention, by its kind.
        """
        x: Tensor = hidden_states
        ends: list[Tensor] = []
        for mixer, connection in zip(self.mixers, self.mixer_connections, strict=True):
            read = connection.enter(x)
            if mixer.kind == "attention":
                y = mixer(read, attention_masks[mixer.mask_kind], **kwargs)[0]
            else:
                output = mixer(read, mask, return_state)
                y = output.hidden
                ends += output.state.values()
            x = connection.leave(x, y)
        if self.feed_forward is not None:
            connection = self.feed_forward_connection
            x = connection.leave(x, self.feed_forward(connection.enter(x)))
        return x, *ends  # no list: gradient checkpointing would lose the gradients of what is in one
