"""The one contract of a recurrent mixer, and the masked carry that every cell shares.

A recurrent mixer maps (B, T, D_in) to (B, T, D_out) and carries a state from left to right. The state is passed in and
returned, never kept on the module. A decoding step is the same ``forward`` with T = 1.
"""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from .notation import State, check_mask, check_sequence, state_dtype


class MixerOutput(NamedTuple):
    """What a recurrent mixer returns.

    hidden:  (B, T, D_out), in the dtype of the input.
    state:   the state after the last step, name -> (B, ...); empty if it was not asked for.
    steps:   name -> (B, T, ...), the state after each step (a masked step repeats its predecessor); None if not asked.
    weights: (B, H, T, S) attention weights of a cell that attends to the encoder, else None.
    keys, values: what a cell with self-attention inside adds to the cache, else None.
    context: (B, T, C) what the cell read from the memory, else None.
    self_weights: (B, H, T, P + T) weights of a cell's self-attention, over P earlier tokens and those read, else None.

    ``hidden``, ``state`` and ``steps`` may share memory: do not write into them.
    """

    hidden: Tensor
    state: State
    steps: State | None = None
    weights: Tensor | None = None
    keys: Tensor | None = None
    values: Tensor | None = None
    context: Tensor | None = None
    self_weights: Tensor | None = None


class RecurrentMixer(nn.Module):
    """Base class of every recurrent cell.

    A cell implements ``run`` and declares ``state_names``; every state is a vector of width ``hidden_size`` unless
    ``state_shapes`` says otherwise. It is built from explicit keyword-only sizes and never sees a config.

    Args:
        input_size: width D_in of the input.
        hidden_size: width D_out of the output.
    """

    kind: ClassVar[str] = "recurrent"
    reads_memory: ClassVar[bool] = False  # attends to the encoder inside the recurrence
    state_names: tuple[str, ...] = ("h",)
    keeps_keys: ClassVar[bool] = False  # attends to its own past, whose keys and values the cache keeps
    takes_depth: ClassVar[bool] = False  # may be built of several inner cells, normalised inside
    least_depth: ClassVar[int] = 1
    takes_score: ClassVar[bool] = False  # may be built with any score of attention, and feed what it read back
    takes_heads: ClassVar[bool] = False  # reads the encoder with several heads, as wide together as attention_size
    takes_slots: ClassVar[bool] = False  # has a memory of its own, which it writes
    takes_blocks: ClassVar[bool] = False  # has gates for blocks of its width, as many as attention has heads

    # The states that a decoder may start from a summary of the encoder, and all that it may start from the encoder's
    # own states: an LSTM's cell state is among the second only.
    initialised_states: tuple[str, ...] = ("h",)
    encoder_states: tuple[str, ...] = ("h",)

    def __init__(self, *, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each named state, of one row of the batch."""
        return dict.fromkeys(self.state_names, (self.hidden_size,))

    def init_weights(self) -> None:
        """Initialises the cell's own parameters; called once, after its linear layers got the default initialisation.

        Uses ``transformers.initialization``, whose functions leave tensors alone that came from a checkpoint.
        """

    def first_state(self, batch: int, *, dtype: torch.dtype, device: torch.device) -> State:
        """The state before the first token, (B, ...) each, as a rule zeros; float32, or float64 as the inputs."""
        return {
            name: torch.zeros(batch, *shape, dtype=state_dtype(dtype), device=device)
            for name, shape in self.state_shapes.items()
        }

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        state: State | None = None,
        memory: Any = None,
        return_steps: bool = False,
        return_state: bool = True,
    ) -> MixerOutput:
        """Reads ``x`` from left to right.

        Args:
            x: (B, T, D_in).
            mask: (B, T) bool, True for real tokens; None if all are real. A masked step carries the state unchanged.
            state: the state to start from; names that are missing are those of ``first_state``. Its tensors are never
                written to.
            memory: for cells with ``reads_memory``: a ``Memory`` (keys (B, S, A), values (B, S, C), mask (B, S)); for
                those with ``keeps_keys``: all keys and values so far, or None.
            return_steps: also return the state after every step.
            return_state: False if nobody needs the final state: then a fused kernel that cannot give it may be used.

        Raises:
            ValueError: x is not (B, T, D_in) with T of 1 or more, or mask is not (B, T).
            TypeError: mask is not boolean.
        """
        check_sequence(x, size=self.input_size)
        check_mask(mask, batch=x.shape[0], length=x.shape[1])
        if x.shape[1] == 0:
            raise ValueError(f"x must have at least one step, got {tuple(x.shape)}")
        start = state or {}
        if len(start) < len(self.state_names):
            start = {**self.first_state(x.shape[0], dtype=x.dtype, device=x.device), **start}
        return self.run(x, mask, start, memory, return_steps, return_state)

    def run(
        self, x: Tensor, mask: Tensor | None, state: State, memory: Any, return_steps: bool, return_state: bool
    ) -> MixerOutput:
        """``forward`` after its checks, with a complete state."""
        raise TypeError(f"{type(self).__name__} must define run()")

    def gate_activations(self, x: Tensor, before: State) -> State:
        """What the gates let through, under the letters of the cell's equations: (B, T, ...) each, in [0, 1].

        All steps at once, for those who look into a cell: ``forward`` does without. Empty for cells without gates, and
        for those whose gates depend on what they read of the encoder or belong to cells inside them.

        Args:
            x: (B, T, D_in).
            before: name -> (B, T, ...), the state before each step.
        """
        return {}


def carry(mask: Tensor | None, new: Tensor, old: Tensor) -> Tensor:
    """The state after one step: ``new`` (B, ...) where ``mask`` (B,) is True, ``old`` elsewhere."""
    return new if mask is None else torch.where(mask.view(-1, *[1] * (new.dim() - 1)), new, old)
