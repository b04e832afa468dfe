"""What cells share that attend to the encoder inside their recurrence."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from .attention import Memory, masked_softmax
from .notation import check_mask, check_sequence


class MemoryReader:
    """Reads a memory with a score: a part of recurrent mixers, which set ``score`` and ``memory_size``.

    alpha_t = softmax_j(score(q_t, m_j))   (1)
    c_t = sum_j alpha_tj m_j               (2)
    """

    reads_memory: ClassVar[bool] = True
    score: Any
    memory_size: int
    value_size: int | None = None  # width of what is prepared of a slot to be found; None: memory_size

    def prepare_memory(self, memory: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What every step reads, computed once a sequence: memory (B, S, C) -> keys (B, S, A) and values (B, S, C).

        Masked slots are cleaned: their weight is 0, but 0 times NaN would be NaN.
        """
        self.check_memory(memory, mask)
        values = memory if mask is None else torch.where(mask[..., None], memory, 0.0)
        return self.score.prepare_keys(values), values

    def check_memory(self, memory: Tensor, mask: Tensor | None) -> None:
        """Raises ValueError or TypeError if the memory or its mask does not fit."""
        check_sequence(memory, size=self.memory_size, name="memory")
        check_mask(mask, batch=memory.shape[0], length=memory.shape[1], name="memory mask")

    def read(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """query (B, T, D) -> weights (B, T, S) and contexts (B, T, C)."""
        allowed = None if memory.mask is None else memory.mask[:, None]  # (B, 1, S)
        alpha = masked_softmax(self.score(query, memory.keys), allowed).to(memory.values.dtype)
        return alpha, torch.matmul(alpha, memory.values)

    def checked(self, memory: Any, batch: int) -> Memory:
        """The memory that was given to ``forward``.

        Raises:
            ValueError: it is missing or does not fit.
            TypeError: its mask is not boolean.
        """
        if memory is None:
            raise ValueError(f"{type(self).__name__} attends to the encoder and needs memory, got None")
        keys, values, mask = memory
        check_sequence(keys, size=self.score.key_width, name="memory.keys")
        check_sequence(values, size=self.value_size or self.memory_size, name="memory.values")
        if keys.shape[:2] != values.shape[:2] or keys.shape[0] != batch:
            raise ValueError(
                f"memory must hold {batch} rows of equally many keys and values, got keys {tuple(keys.shape)}, "
                f"values {tuple(values.shape)}"
            )
        check_mask(mask, batch=batch, length=keys.shape[1], name="memory.mask")
        return Memory(keys, values, mask)
