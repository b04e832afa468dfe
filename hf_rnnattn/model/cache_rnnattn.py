"""Cache layers that hold named recurrent states beside keys and values.

transformers finds a cache layer class by the name that the config gives for each decoder layer: both classes below
enter its tables under ``rnnattn`` when this file is imported, so that ``DynamicCache(config=...)``, ``StaticCache``
and ``generate()`` build them unaided. One kind serves every slot: a recurrent layer uses the states, a
self-attention layer and the cross-attention slot the keys and values, a layer that joins both uses both.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, StaticLayer

from .notation import State


class PastRecord:
    """The states after each token since the last ``crop``, to which it can roll back exactly: k + 1 for k tokens.

    Base of both cache layers. ``record_past`` is off until ``activate_past_recording`` is called.
    """

    record_past = False
    _past: State  # name -> (B, 1 + tokens since the last crop, ...), the state before them first

    def activate_past_recording(self) -> None:
        """From now on ``crop`` can roll back to any token since the last ``crop``."""
        self.record_past = True

    def record(self, initial: State, steps: State | None) -> None:
        """Add the states after each of some tokens, if the past is recorded.

        Args:
            initial: name -> (B, ...), the states before the first of them.
            steps: name -> (B, T, ...), the states after each of them.

        Raises:
            ValueError: ``steps`` is missing.
        """
        if not self.record_past:
            return
        if steps is None:
            raise ValueError("the cache records the past: update_states needs the states after each step")
        for name, new in steps.items():
            past = self._past.get(name)
            start = initial[name][:, None] if past is None else past
            self._past[name] = torch.cat([start, new], dim=1)

    def recorded(self, count: int) -> State:
        """Return the states before the last ``count`` tokens.

        Raises:
            ValueError: they were not recorded.
        """
        held = next(iter(self._past.values())).shape[1] - 1 if self._past else 0
        if count > held:
            raise ValueError(
                f"cannot roll a recurrent state back by {count} tokens, {held} were recorded; call "
                "activate_past_recording() before reading them"
            )
        return {name: past[:, -1 - count] for name, past in self._past.items()}


def _check_crop(tokens_to_remove: int) -> None:
    if tokens_to_remove > 0:
        raise ValueError(f"crop takes 0 or minus the number of tokens to remove, got a positive {tokens_to_remove}")


class RnnAttnCacheLayer(PastRecord, DynamicLayer):
    """Keys and values that grow, and states that do not.

    states: name -> (B, ...), the state after the last token; empty before the first.
    """

    _layer_type: ClassVar[str] = "rnnattn"
    keys: Any  # (B, H, T, d) or None, and so are the values
    values: Any

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.states: State = {}
        self._past = {}
        self._tokens = 0  # read by this layer, counted here only while it has no keys

    @property
    def has_keys(self) -> bool:
        """Whether the layer holds keys and values."""
        # Before the first ones, transformers puts a tensor of one dimension there. Exported graphs cannot count them.
        return self.is_initialized and self.keys.dim() > 1

    def read_states(self, names: list[str]) -> State | None:
        """The states of these names, or None before the first token."""
        return {name: self.states[name] for name in names} if names[0] in self.states else None

    def read_keys(self) -> tuple[Tensor, Tensor] | None:
        """All keys and values, for cells that attend to them; None before the first token."""
        return (self.keys, self.values) if self.has_keys else None

    def update_states(self, states: State, *, initial: State, steps: State | None, num_tokens: int) -> None:
        """Stores the states after ``num_tokens`` more tokens.

        Args:
            states: the states after the last of them.
            initial: the states before the first of them.
            steps: name -> (B, T, ...), the states after each of them; required while the past is recorded.
            num_tokens: how far to advance the token counter; 0 where the keys of the layer count the tokens.

        Raises:
            ValueError: the past is recorded and ``steps`` is missing.
        """
        self.record(initial, steps)
        self.states = {**self.states, **states}
        self._tokens += num_tokens

    def get_seq_length(self) -> int:
        """Number of tokens read so far."""
        length: int = self.keys.shape[-2] if self.has_keys else self._tokens
        return length  # as it is: int() would fix it in an exported graph

    def crop(self, tokens_to_remove: int) -> None:
        """Forgets the last ``-tokens_to_remove`` tokens, and the record of the past.

        Raises:
            ValueError: the argument is positive, or the states of so many tokens were not recorded.
        """
        _check_crop(tokens_to_remove)
        if tokens_to_remove < 0 and self.states:
            self.states = self.recorded(-tokens_to_remove)  # may refuse, and then nothing has changed
            self._tokens = max(0, self._tokens + tokens_to_remove)
        if tokens_to_remove < 0 and self.has_keys:
            self.keys, self.values = (held[..., :tokens_to_remove, :] for held in (self.keys, self.values))
        self._past = {}

    def _map_batch(self, function: Any) -> None:
        """Applies ``function`` to every tensor that the layer holds, all of them batch first."""
        if self.has_keys:
            self.keys, self.values = function(self.keys), function(self.values)
        self.states = {name: function(state) for name, state in self.states.items()}
        self._past = {name: function(past) for name, past in self._past.items()}

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row i becomes what row ``beam_idx[i]`` was."""
        self._map_batch(lambda tensor: tensor.index_select(0, beam_idx.to(tensor.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats each row ``repeats`` times."""
        self._map_batch(lambda tensor: tensor.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps the rows ``indices``."""
        self._map_batch(lambda tensor: tensor[indices, ...])

    def reset(self) -> None:
        """Forgets everything but whether the past is recorded."""
        super().reset()
        self.keys, self.values, self.is_initialized = None, None, False
        self.states, self._past, self._tokens = {}, {}, 0


class RnnAttnStaticCacheLayer(PastRecord, StaticLayer):
    """The same with fixed addresses, for compiled decoding: tensors are allocated at the first token, then written to.

    The states stay where they are; the record of the past, which grows until the next ``crop``, does not.
    """

    _layer_type: ClassVar[str] = "rnnattn"
    is_croppable = True
    keys: Any  # (B, H, max_cache_len, d) or None, and so are the values
    values: Any
    cumulative_length: Tensor

    def __init__(self, max_cache_len: int, **kwargs: Any) -> None:
        super().__init__(max_cache_len, **kwargs)
        self.states: State = {}
        self._past = {}
        self._live: set[str] = set()  # written since the last reset

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Writes keys and values (B, H, T, d) behind those already there; returns all ``max_cache_len`` of them."""
        if self.keys is None:  # states may have come first and set ``is_initialized``
            self.lazy_initialization(key_states, value_states)
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        return keys, values

    def read_states(self, names: list[str]) -> State | None:
        """The states of these names, or None before the first token."""
        return {name: self.states[name] for name in names} if names[0] in self._live else None

    def read_keys(self) -> tuple[Tensor, Tensor] | None:
        """All slots for keys and values, also those that are zeros yet; None before there are any."""
        return None if self.keys is None else (self.keys, self.values)

    def update_states(self, states: State, *, initial: State, steps: State | None, num_tokens: int) -> None:
        """As ``RnnAttnCacheLayer.update_states``, in place."""
        self.record(initial, steps)  # first: ``initial`` may be the very tensors that are written to
        for name, new in states.items():
            held = self.states.get(name)
            if held is None:
                self.states[name] = self._allocate(new)
            else:
                held.copy_(new)
            self._live.add(name)
        if num_tokens:
            self.cumulative_length.add_(num_tokens)
        self.is_initialized = True

    def _allocate(self, state: Tensor) -> Tensor:
        held = state.detach().clone()
        self.cumulative_length = self.cumulative_length.to(state.device)
        if not torch.compiler.is_compiling():
            torch._dynamo.mark_static_address(held)
            torch._dynamo.mark_static_address(self.cumulative_length)
        return held

    def crop(self, tokens_to_remove: int) -> None:
        """As ``RnnAttnCacheLayer.crop``, in place: what lies behind the last token is overwritten by the next."""
        _check_crop(tokens_to_remove)
        if tokens_to_remove < 0:
            before = self.recorded(-tokens_to_remove) if self.states else {}
            for name, state in before.items():
                self.states[name].copy_(state)
            self.cumulative_length.add_(tokens_to_remove).clamp_(min=0)
            if self.states and self.keys is not None:  # cells read all slots, and know the empty ones by their zeros
                behind = torch.arange(self.max_cache_len, device=self.keys.device) >= self.cumulative_length
                for held in (self.keys, self.values):
                    held.masked_fill_(behind[:, None], 0)
        self._past = {}

    def _tensors(self) -> list[Tensor]:
        kept = [tensor for tensor in (self.keys, self.values) if tensor is not None]
        return kept + list(self.states.values())

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row i becomes what row ``beam_idx[i]`` was."""
        for tensor in self._tensors():
            tensor.copy_(tensor.index_select(0, beam_idx.to(tensor.device)))
        self._past = {name: past.index_select(0, beam_idx.to(past.device)) for name, past in self._past.items()}

    def reset(self) -> None:
        """Back to before the first token, at the same addresses."""
        for tensor in self._tensors():
            tensor.zero_()
        self.cumulative_length.zero_()
        self._past = {}
        self._live.clear()
