"""From the start and end scores of tokens to the most probable spans."""

import torch
from torch import Tensor


def best_spans(
    start: Tensor, end: Tensor, context: Tensor, no_answer: int | None, wanted: int, max_answer_len: int
) -> tuple[list[tuple[int, int, float]], float]:
    """The most probable spans, and the probability that there is no answer.

    A span's probability is that of its start times that of its end; both are distributions over the tokens of the
    context and the one that stands for no answer.

    Args:
        start, end: (S,) scores.
        context: (S,) bool, true for the tokens of the context.
        no_answer: the index whose scores are those of "there is no answer"; None if no token stands for that.
        wanted: at most how many spans.
        max_answer_len: at most how many tokens a span has.

    Returns:
        (first token, last token, probability) of each span, the best one first, and the probability of none.
    """
    scored = context.clone()
    if no_answer is not None:
        scored[no_answer] = True
    starts, ends = (scores.double().masked_fill(~scored, -10000.0).softmax(-1) for scores in (start, end))
    nothing = 0.0 if no_answer is None else float(starts[no_answer] * ends[no_answer])
    possible = (context[:, None] & context).triu().tril(max_answer_len - 1)  # (S, S)
    scores = torch.where(possible, torch.outer(starts, ends), -1.0).flatten()
    best = scores.topk(min(wanted, len(scores)))
    size = len(context)
    pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return [(place // size, place % size, score) for score, place in pairs if score >= 0], nothing
