"""Encoder and decoder step as modules of named tensors: what ``torch.export``, and all that builds on it, can take.

A model keeps its past in a cache object. Here the same tensors go in and come out by name:

    past.<layer>.<state>                     what a recurrent layer carries; ``1.c`` of the second mixer of several
    past.<layer>.keys, past.<layer>.values   of self-attention, (B, H, P, d) after P tokens
    cross.<layer>.keys, cross.<layer>.values what the layer reads of the encoder, prepared once a sequence
    cross.context                            the context vector (B, C) of the source, where every step reads it
    present.…                                what ``past.…`` has become, for the next step

The encoder returns the ``past.…`` and ``cross.…`` of the first step under the names that the step takes.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from hf_rnnattn.model.decoder_cache import keep_context, new_cache
from hf_rnnattn.model.inputs import as_bool_mask

Named = dict[str, Tensor]
KEYS_AND_VALUES = ("keys", "values")
KEPT = ("past.", "present.")
VECTOR = "cross.context"


class EncoderGraph(nn.Module):
    """What runs once a sequence.

    Shapes: input_ids (B, S), attention_mask (B, S) int64, non-zero for real tokens -> ``last_hidden_state`` (B, S, C),
        every ``cross.…`` (B, H, S, d) and every ``past.…`` before the first token: states (B, D) in float32, keys and
        values (B, H, 0, d).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.decoder = model.model.encoder, model.model.decoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Named:
        """The encoder's output, and all that the decoder makes of it before its first token."""
        encoded = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        hidden = encoded.last_hidden_state
        batch, length = input_ids.shape
        mask = as_bool_mask(attention_mask, batch=batch, length=length, name="attention_mask")
        memory, summary, vector = self.decoder.read_encoder(hidden, mask, None, encoded.final_states)
        outputs = (
            {"last_hidden_state": hidden} if vector is None else {"last_hidden_state": hidden, VECTOR: vector[:, 0]}
        )
        for i, layer in enumerate(self.decoder.layers):
            prepared = layer.prepare_memory(memory, None) or ()  # nothing of a layer that reads no encoder
            outputs |= {f"cross.{i}.{part}": tensor for part, tensor in zip(KEYS_AND_VALUES, prepared, strict=False)}
            outputs |= {f"past.{i}.{name}": tensor for name, tensor in _first_past(layer, memory, summary)}
        return outputs


def _first_past(layer: Any, memory: Tensor, summary: Tensor | None) -> Iterator[tuple[str, Tensor]]:
    """What a layer of the decoder starts from, in the order of ``past_names``."""
    for i, mixer in enumerate(layer.mixers):
        if mixer.kind == "recurrent":
            start = layer.start(i, memory, summary, None)
            yield from ((layer.prefixes[i] + name, start[name]) for name in mixer.state_names)
    for mixer in layer.mixers:
        if mixer.keeps_keys:
            for part, (heads, width) in zip(KEYS_AND_VALUES, mixer.slot_shapes, strict=True):
                yield part, memory.new_zeros(memory.shape[0], heads, 0, width)


class DecoderStepGraph(nn.Module):
    """One token for every row.

    Shapes: input_ids (B, 1), attention_mask (B, S) of the source, ``state``: every ``past.…`` and ``cross.…``,
        position_ids (B, 1) where the decoder embeds positions -> ``logits`` (B, V) and a ``present.…`` for every
        ``past.…``.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder, self.readout, self.lm_head = model.model.decoder, model.readout, model.lm_head
        self.distribution = model.distribution

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, state: Named, position_ids: Tensor | None = None
    ) -> Named:
        """The logits of the next token, and the past of the step after this one."""
        cache = self._fill_cache(state)
        # Only its shape is asked for: what would be read of it is in the cache.
        memory = torch.zeros(*attention_mask.shape, 1, device=attention_mask.device)
        out = self.decoder(
            input_ids=input_ids,
            encoder_hidden_states=memory,
            encoder_attention_mask=attention_mask,
            cache=cache,
            position_ids=position_ids,
        )
        logits = self.distribution(lambda x: self.lm_head(self.readout(x)), out.last_hidden_state, out.reading)
        present = {name.replace(*KEPT, 1): _kept(cache, name) for name in state if name.startswith(KEPT[0])}
        return {"logits": logits[:, -1], **present}

    def _fill_cache(self, state: Named) -> Any:
        cache: Any = new_cache(self.decoder.config, has_encoder=True)
        lengths = [tensor.shape[2] for name, tensor in state.items() if holds_keys(name)]
        for i, layer in enumerate(self.decoder.layers):
            own, crossed = cache.self_attention_cache.layers[i], cache.cross_attention_cache.layers[i]
            held = {name.removeprefix(f"past.{i}."): tensor for name, tensor in state.items() if _of(name, i)}
            attention = [held.pop(part) for part in KEYS_AND_VALUES if part in held]
            if attention:
                _hold(own, *attention)
            # Where no other layer attends to itself, nobody asks how many tokens were read.
            tokens = lengths[0] if lengths and not layer.keys_count_tokens else 0
            own.update_states(held, initial={}, steps=None, num_tokens=tokens)
            if layer.reads_encoder:
                _hold(crossed, *(state[f"cross.{i}.{part}"] for part in KEYS_AND_VALUES))
            cache.is_updated[i] = True
        if VECTOR in state:
            keep_context(cache, state[VECTOR])
        return cache


def _of(name: str, layer: int) -> bool:
    return name.startswith(f"past.{layer}.")


def holds_keys(name: str) -> bool:
    """Whether keys or values of self-attention go by this name."""
    return name.startswith(KEPT) and name.endswith(KEYS_AND_VALUES)


def _hold(layer: Any, keys: Tensor, values: Tensor) -> None:
    """Puts keys and values into an empty cache layer; ``update`` would join them to a tensor of one dimension."""
    layer.lazy_initialization(keys, values)
    layer.keys, layer.values = keys, values


def _kept(cache: Any, name: str) -> Tensor:
    """What a cache holds under the name of a ``past.<layer>.<state>``."""
    _, index, state = name.split(".", 2)
    layer = cache.self_attention_cache.layers[int(index)]
    tensor: Tensor = getattr(layer, state) if state in KEYS_AND_VALUES else layer.states[state]
    return tensor


def dynamic_axes(name: str, *, step: bool) -> dict[int, str]:
    """Which axes of an input or output have no size of their own: axis -> ``batch``, ``source``, ``past``, …

    ``past`` is the number of tokens before this step.
    """
    axes = {0: "batch"}
    if name in ("attention_mask", "last_hidden_state") or (name == "input_ids" and not step):
        axes[1] = "source"
    elif name.startswith("cross.") and name != VECTOR:
        axes[2] = "source"
    elif holds_keys(name) and step:
        axes[2] = "past" if name.startswith(KEPT[0]) else "past + 1"
    return axes
