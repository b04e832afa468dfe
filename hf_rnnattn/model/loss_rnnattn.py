"""The losses: all are sums over what is taught, divided by a count, so that micro-batches add up to one batch."""

from typing import Any

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
    return _divided(total, (labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch)


def reinforced_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor,
    log_weights: Tensor,
    baseline: Tensor,
    entropy_weight: float,
    num_items_in_batch: Tensor | int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``seq2seq_loss`` of logits for which positions were drawn, with a gradient that teaches the drawing.

        r_t = log p(y_t | j_t)                                                                    (1)
        gradient = - grad r_t - (r_t - b) grad log alpha_{t, j_t} - lambda grad H(alpha_t)        (2)

    Its expectation is the gradient of - sum_j alpha_tj log p(y_t | j) - lambda H(alpha_t), a bound of the loss of
    ``MarginalDistribution`` where lambda is 0: REINFORCE, with a baseline b that changes its variance only.

    Args:
        logits, labels, num_items_in_batch: see ``seq2seq_loss``.
        weights: (B, T, S), zeros and a one: what was drawn.
        log_weights: (B, T, S), log alpha.
        baseline: scalar b.
        entropy_weight: lambda.

    Returns:
        The loss, the sum of the rewards r_t of all labels, and their number. The value of the loss is that of
        ``seq2seq_loss``.
    """
    loss = seq2seq_loss(logits, labels, num_items_in_batch)
    labels = labels.to(logits.device)
    wide = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
    losses = nn.functional.cross_entropy(wide.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    taught = labels != IGNORED
    drawn = (weights * log_weights).sum(-1)  # (B, T)
    entropy = -(log_weights.exp() * log_weights).sum(-1)
    lesson = (losses + baseline) * drawn - entropy_weight * entropy
    total = torch.where(taught, lesson, 0.0).sum()
    total = _divided(total, taught.sum() if num_items_in_batch is None else num_items_in_batch)
    return loss + (total - total.detach()), -losses.sum(), taught.sum()


def problem_type_of(labels: Tensor, num_labels: int) -> str:
    """What labels of sequences are, where the config does not say: transformers' own rule.

    ``regression`` for one label; else ``single_label_classification`` for integers, ``multi_label_classification`` for
    other numbers.
    """
    if num_labels == 1:
        return "regression"
    return "multi_label_classification" if labels.is_floating_point() else "single_label_classification"


def classification_loss(
    logits: Tensor, labels: Tensor, problem_type: str, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """The loss of sequence classification.

    Args:
        logits: (B, num_labels).
        labels: (B,) classes for single_label_classification; as many numbers as there are logits for regression
            (squared error) and multi_label_classification (binary cross-entropy).
        problem_type: one of these three names.
        num_items_in_batch: what to divide by, see ``seq2seq_loss``. None: the number of labels.

    Raises:
        ValueError: another problem type, or another number of labels.
    """
    if problem_type == "single_label_classification":
        return seq2seq_loss(logits[:, None], labels.reshape(-1, 1), num_items_in_batch)
    losses: dict[str, Any] = {
        "regression": nn.functional.mse_loss,
        "multi_label_classification": nn.functional.binary_cross_entropy_with_logits,
    }
    if problem_type not in losses:
        known = ", ".join(["single_label_classification", *losses])
        raise ValueError(f"problem_type must be one of {known}, got {problem_type!r}")
    if labels.numel() != logits.numel():
        raise ValueError(f"labels must be {logits.numel()} numbers, as the logits, got {labels.numel()}")
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total: Tensor = losses[problem_type](wide, labels.to(wide).reshape(wide.shape), reduction="sum")
    return _divided(total, labels.numel() if num_items_in_batch is None else num_items_in_batch)


def span_loss(logits: Tensor, positions: Tensor) -> Tensor:
    """Cross-entropy of one position (B,) a row among (B, S); rows whose position lies outside of S are ignored."""
    positions = positions.reshape(-1).to(logits.device)
    inside = (positions >= 0) & (positions < logits.shape[1])
    return seq2seq_loss(logits[:, None], torch.where(inside, positions, IGNORED)[:, None])


def _divided(total: Tensor, count: Tensor | int) -> Tensor:
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
