"""The loss of sequence-to-sequence models."""

import torch
from torch import Tensor, nn

IGNORED = -100


def seq2seq_loss(logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Cross-entropy of labels that are already aligned with the logits.

    Args:
        logits: (B, T, V); the arithmetic is float32 at least.
        labels: (B, T); -100 is ignored.
        num_items_in_batch: what to divide by. The Trainer gives the number of labels of all micro-batches that make up
            one step, so that accumulated gradients equal those of one large batch. None: the labels of this batch.

    Returns:
        A scalar; exactly 0, with zero gradients, if every label is ignored.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    labels = labels.to(logits.device)
    total = nn.functional.cross_entropy(
        wide.reshape(-1, wide.shape[-1]), labels.reshape(-1), ignore_index=IGNORED, reduction="sum"
    )
    count = (labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
    if isinstance(count, Tensor):
        return total / count.to(total.device).clamp(min=1)
    return total / max(count, 1)


def shift_tokens_right(labels: Tensor, pad_token_id: int | None, decoder_start_token_id: int | None) -> Tensor:
    """What the decoder reads while it is taught ``labels`` (B, T): the start token, then the labels but the last.

    Raises:
        ValueError: one of the two ids is None.
    """
    for name, value in (("pad_token_id", pad_token_id), ("decoder_start_token_id", decoder_start_token_id)):
        if value is None:
            raise ValueError(f"{name} is None: the decoder's input cannot be made from labels")
    shifted = labels.new_full(labels.shape, decoder_start_token_id)  # type: ignore[arg-type]
    shifted[:, 1:] = labels[:, :-1]
    return shifted.masked_fill(shifted == IGNORED, pad_token_id)  # type: ignore[arg-type]
