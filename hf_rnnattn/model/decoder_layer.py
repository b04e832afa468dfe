"""A layer of the decoder: mixers, attention to the encoder, feed-forward, each with its norm and residual."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention import NOTHING_READ, Memory, Reading
from .attention_hops import HopCrossAttention
from .context_vector import fed_width
from .decoder_cache import own_cache
from .feed_forward import adds_input, build_connection, build_feed_forward
from .hard_attention import HARD
from .initial_state import STARTS, build_projection, first_columns, start_names
from .mixer_attention import MultiHeadCrossAttention, ScoredCrossAttention
from .mixers import (
    MIXERS,
    attention_options,
    cell_depth,
    cell_options,
    keeps_keys,
    reads_memory,
    slot_options,
    split_mixer,
)
from .notation import State
from .transformers_versions import one_cache


class Masks(NamedTuple):
    """The masks of one forward pass of the decoder; None where everything is real.

    mask:             (B, T) bool, the real tokens among those being read.
    attention_masks:  what the attention interface wants for self-attention, by its kind.
    memory_mask:      (B, S) bool, the real tokens of the encoder's output.
    memory_attention: what the attention interface wants of ``memory_mask``.
    """

    mask: Tensor | None
    attention_masks: dict[str, Any]
    memory_mask: Tensor | None
    memory_attention: Tensor | None


class RnnAttnDecoderLayer(GradientCheckpointingLayer):
    """One layer of the decoder: its mixers, attention to the encoder, then a feed-forward network.

    No attention to the encoder is added where a mixer reads the encoder inside its recurrence, or where there is no
    encoder. With ``feed_context`` the first mixer reads [x; context].
    """

    mixers: Any  # a ModuleList, and so are mixer_connections and initial_states: one of each a mixer
    mixer_connections: Any
    initial_states: Any
    cross_attention: Any
    cross_attention_connection: Any
    feed_forward_connection: Any

    def __init__(self, config: Any, layer_idx: int, *, has_encoder: bool = True) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.has_encoder = has_encoder
        entry = config.decoder_mixers[layer_idx]
        size = config.hidden_size
        input_size = config.embedding_size if layer_idx == 0 else size
        self.keys_count_tokens = keeps_keys(entry)
        names = split_mixer(entry)
        self.prefixes = [f"{i}." if len(names) > 1 else "" for i in range(len(names))]
        adds = adds_input(config, layer_idx)
        self.fed_width = fed_width(config, layer_idx) if has_encoder else 0
        self.mixers = nn.ModuleList()
        self.mixer_connections = nn.ModuleList()
        for i, name in enumerate(names):
            beside = 0 if i else self.fed_width
            self.mixers.append(self._build_mixer(config, name, layer_idx, input_size + beside))
            self.mixer_connections.append(build_connection(config, input_size, size, residual=adds))
            input_size = size
        self.initial_states = nn.ModuleList([build_projection(config, mixer) for mixer in self.mixers])
        self.start_names = [start_names(config, mixer) for mixer in self.mixers]
        self.start_columns = first_columns(config, layer_idx)
        self.first_states = STARTS[config.decoder_init]
        crosses = has_encoder and config.cross_attention != "none" and not reads_memory(entry)
        if config.hard_attention != "none":  # what one layer does not read, no other may
            crosses = crosses and layer_idx == config.decoder_layers - 1
        self.cross_attention = self._build_cross_attention(config) if crosses else None
        self.cross_attention_connection = (
            None if self.cross_attention is None else build_connection(config, size, size, residual=adds)
        )
        self.reads_encoder = has_encoder and (crosses or reads_memory(entry))
        self.feed_forward = build_feed_forward(config, size, config.decoder_ffn_dim)
        self.feed_forward_connection = (
            None if self.feed_forward is None else build_connection(config, size, size, residual=adds)
        )

    @staticmethod
    def _build_mixer(config: Any, name: str, layer_idx: int, input_size: int) -> nn.Module:
        mixer_class, size = MIXERS[name], config.hidden_size
        mixer: nn.Module
        if mixer_class.kind == "attention":
            mixer = mixer_class(
                config,
                input_size=input_size,
                hidden_size=size,
                num_heads=config.decoder_attention_heads,
                dropout=config.attention_dropout,
                is_causal=True,
                **attention_options(name, config.attention_window),
            )
        else:
            options: dict[str, Any] = cell_options(
                name,
                depth=cell_depth(config.decoder_cell_depths, config.decoder_mixers[layer_idx], layer_idx),
                cell_norm=config.cell_norm,
                norm_eps=config.layer_norm_eps,
            )
            options |= slot_options(
                name,
                memory_slots=config.memory_slots,
                memory_slot_size=config.memory_slot_size,
                memory_heads=config.memory_heads,
            )
            if mixer_class.reads_memory:
                options |= {"memory_size": config.encoder_hidden_size, "attention_size": config.attention_size}
            if mixer_class.keeps_keys or mixer_class.takes_heads:
                options |= {"num_heads": config.decoder_attention_heads, "dropout": config.attention_dropout}
            if mixer_class.takes_blocks:
                options["num_blocks"] = config.decoder_attention_heads
            if mixer_class.takes_score:
                options |= {
                    "score": config.cross_attention,
                    "input_feeding": config.input_feeding,
                    "attentional_activation": config.attentional_activation,
                }
            mixer = mixer_class(input_size=input_size, hidden_size=size, **options)
        return mixer

    @staticmethod
    def _build_cross_attention(config: Any) -> nn.Module:
        sizes = {
            "query_size": config.hidden_size,
            "memory_size": config.encoder_hidden_size,
            "hidden_size": config.hidden_size,
            "dropout": config.attention_dropout,
        }
        if config.cross_attention == "multi_head":
            return MultiHeadCrossAttention(config, num_heads=config.decoder_attention_heads, **sizes)
        if config.cross_attention == "hops":
            del sizes["hidden_size"]
            return HopCrossAttention(hops=config.attention_hops, tying=config.hop_tying, **sizes)
        attention = HARD.get(config.hard_attention, ScoredCrossAttention)
        return attention(score=config.cross_attention, attention_size=config.attention_size, **sizes)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None,
        summary: Tensor | None,
        context: Tensor | None,
        masks: Masks,
        cache: Any = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor | None, ...]:
        """Reads T more tokens.

        Args:
            hidden_states: (B, T, D_in).
            encoder_hidden_states: (B, S, C), clean of padding; None once the cache holds what is prepared from it.
            summary: (B, C), or (B, N, C) the encoder's states: what initial states are made of, or None.
            context: (B, T or 1, C), what a layer with ``feed_context`` reads beside its input, or None.
            masks: the masks of this pass.
            cache: a cache whose layers hold states, or None: an ``EncoderDecoderCache`` where there is an encoder.
                ``past_key_values`` is its name before transformers 5.24. Gradient checkpointing drops it if it is
                given by keyword, under the name that transformers has for it.

        Returns:
            (B, T, D), then what a ``Reading`` holds of the encoder.
        """
        cache = one_cache(cache, past_key_values)
        own = None if cache is None else own_cache(cache).layers[self.layer_idx]
        x: Tensor = hidden_states
        reading = NOTHING_READ
        memory = self.prepare_memory(encoder_hidden_states, cache)
        for i, connection in enumerate(self.mixer_connections):
            entering = connection.enter(x)
            if self.fed_width and context is not None and not i:
                entering = torch.cat([entering, context.expand(-1, x.shape[1], -1).to(entering.dtype)], dim=-1)
            y, read = self._mix(i, entering, memory, summary, masks, own, **kwargs)
            reading = reading if read.context is None else read
            x = connection.leave(x, y)
        if self.cross_attention is not None:
            connection = self.cross_attention_connection
            y, weights, found, *log_weights = self.cross_attention(
                connection.enter(x), *memory, masks.memory_attention, masks.memory_mask, **kwargs
            )
            reading = Reading(found, weights, *log_weights)
            x = connection.leave(x, y)
        if self.feed_forward is not None:
            connection = self.feed_forward_connection
            x = connection.leave(x, self.feed_forward(connection.enter(x)))
        return x, *reading

    def prepare_memory(self, encoder_hidden_states: Tensor | None, cache: Any) -> Any:
        """Keys (B, H, S, A) and values (B, H, S, C) of the encoder, made once a sequence and kept in the cache.

        None for a layer that reads no encoder.
        """
        if not self.reads_encoder:
            if self.has_encoder and cache is not None:
                cache.is_updated[self.layer_idx] = True
            return None
        if cache is not None and cache.is_updated.get(self.layer_idx):
            layer = cache.cross_attention_cache.layers[self.layer_idx]
            return layer.keys, layer.values
        if self.cross_attention is not None:
            keys, values = self.cross_attention.prepare_memory(encoder_hidden_states)
        else:
            reader = next(mixer for mixer in self.mixers if mixer.reads_memory)
            keys, values = (part[:, None] for part in reader.prepare_memory(encoder_hidden_states))
        if cache is not None:
            keys, values = cache.cross_attention_cache.layers[self.layer_idx].update(keys, values)
            cache.is_updated[self.layer_idx] = True
        return keys, values

    def _mix(
        self,
        i: int,
        x: Tensor,
        memory: Any,
        summary: Tensor | None,
        masks: Masks,
        cache: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Reading]:
        mixer = self.mixers[i]
        if mixer.kind == "attention":
            return mixer(x, masks.attention_masks[mixer.mask_kind], cache, **kwargs)[0], NOTHING_READ
        start = self.start(i, x, summary, cache)
        recording = cache is not None and cache.record_past
        output = mixer(
            x,
            masks.mask,
            start,
            self._memory_of(mixer, memory, masks, cache),
            return_steps=recording,
            return_state=cache is not None,
        )
        if cache is not None:
            prefix = self.prefixes[i]
            cache.update_states(
                _prefixed(prefix, output.state),
                initial=_prefixed(prefix, start),
                steps=_prefixed(prefix, output.steps) if recording else None,
                num_tokens=0 if self.keys_count_tokens or i else x.shape[1],
            )
            if mixer.keeps_keys:
                cache.update(output.keys, output.values)
        return output.hidden, Reading(output.context, output.weights)

    @staticmethod
    def _memory_of(mixer: Any, memory: Any, masks: Masks, cache: Any) -> Any:
        """What a recurrent mixer attends to: the encoder, or its own past, or nothing."""
        if mixer.reads_memory:
            return Memory(memory[0][:, 0], memory[1][:, 0], masks.memory_mask)
        return cache.read_keys() if mixer.keeps_keys and cache is not None else None

    def start(self, i: int, x: Tensor, summary: Tensor | None, cache: Any) -> State:
        """The states from which mixer ``i`` goes on: the cache's, else what the summary of the encoder gives."""
        mixer, prefix = self.mixers[i], self.prefixes[i]
        held = None if cache is None else cache.read_states([prefix + name for name in mixer.state_names])
        if held is not None:
            return {name: held[prefix + name] for name in mixer.state_names}
        state: State = mixer.first_state(x.shape[0], dtype=x.dtype, device=x.device)
        if summary is not None:
            started = self.first_states(self.initial_states[i], self.start_names[i], self.start_columns[i], summary)
            state |= {name: tensor.to(state[name].dtype) for name, tensor in started.items()}
        return state


def _prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()} if prefix else state
