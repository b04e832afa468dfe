"""From the decoder's last vectors to ``logits``: scores of the vocabulary, or the logarithm of a mixture.

The decoder's last reading of the encoder may belong to the distribution of the next token. Then a *report* hands it
on, as the tuple ``reading`` in the outputs of the decoder and of the model around it, and a *distribution* in the head
uses it. Both are chosen here, by the same fields of the config.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import transformers.initialization as init
from torch import Tensor, nn

from .attention import Reading
from .context_vector import context_width
from .loss_rnnattn import reinforced_loss, seq2seq_loss

Score = Callable[[Tensor], Tensor]  # vectors (B, T, E) -> logits (B, T, V)
Told = tuple[Tensor, ...]  # batch first
# (what was read out (B, T, E), embedded tokens (B, T, E), the decoder's output (B, T, D), its last reading, ids of the
# source (B, S)) -> the last hidden state, and the tuple
Report = Callable[[Tensor, Tensor, Tensor, Reading, Tensor | None], tuple[Tensor, Told | None]]


def build_output(config: Any, hidden_size: int, vocab_size: int) -> tuple[nn.Module, nn.Linear]:
    """What turns the last vectors into scores: a projection and the output matrix.

    A tied output matrix has the width of the embeddings: where the vectors' is another, they are projected to it.
    """
    width = config.embedding_size if config.tie_word_embeddings else hidden_size
    readout = nn.Identity() if width == hidden_size else nn.Linear(hidden_size, width)
    return readout, nn.Linear(width, vocab_size, bias=config.output_bias)


class VocabularyDistribution(nn.Module):
    """The scores as they are: softmax makes them probabilities."""

    def forward(self, score: Score, hidden: Tensor, told: Told | None) -> Tensor:
        """hidden (B, T, E) -> logits (B, T, V)."""
        return score(hidden)

    def loss(
        self, logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None, told: Told | None
    ) -> Tensor:
        """See ``seq2seq_loss``."""
        return seq2seq_loss(logits, labels, num_items_in_batch)


class CopyDistribution(VocabularyDistribution):
    """Writes a token of the vocabulary or copies one of the source, See et al. 2017.

        g_t = sigmoid(w_c . c_t + w_s . s_t + w_y . y_{t-1} + b)                     (1)
        p(w) = g_t P_vocab(w) + (1 - g_t) sum_{j: x_j = w} alpha_tj                  (2)

    of the context c_t and the weights alpha_t of the decoder's last reading of the encoder, the decoder's output s_t,
    and the embedding y_{t-1} of the token that was read. So a token may be written that no output weight was ever
    trained for. A row whose source is all padding writes from the vocabulary alone.

    Args:
        embedding_size, hidden_size, context_size: widths of y, s and c.

    Shapes: told: y (B, T, E), s (B, T, D), c (B, T, C), alpha (B, H, T, S), whose mean over H is taken, ids of the
        source (B, S) -> log p (B, T, V), computed in float32 at least.
    Source: See et al. 2017, Get To The Point: Summarization with Pointer-Generator Networks, ACL.
    Reference: tests/reference_attention.py::copy_distribution.
    """

    def __init__(self, *, embedding_size: int, hidden_size: int, context_size: int) -> None:
        super().__init__()
        self.gate = nn.Linear(embedding_size + hidden_size + context_size, 1)

    def forward(self, score: Score, hidden: Tensor, told: Told | None) -> Tensor:
        """hidden (B, T, E) -> the logarithm of (2)."""
        embedded, state, context, weights, source_ids = told or ()
        logits = score(hidden)
        wide = torch.promote_types(logits.dtype, torch.float32)
        gate = self.gate(torch.cat([embedded, state, context], dim=-1)).to(wide)  # (B, T, 1)
        alpha = weights.to(wide).mean(1)  # (B, T, S)
        ids = source_ids[:, None].expand_as(alpha)
        copied = torch.zeros_like(logits, dtype=wide).scatter_add(-1, ids, alpha)  # (B, T, V)
        reads = (alpha > 0).any(-1, keepdim=True)
        written = logits.to(wide).log_softmax(-1) + torch.where(reads, nn.functional.logsigmoid(gate), 0.0)
        # The logarithm of 0 is kept out of the gradient as well as out of the sum.
        found = copied > 0
        pointed = torch.where(found, copied, 1.0).log() + nn.functional.logsigmoid(-gate)
        return torch.where(found, torch.logaddexp(written, pointed), written).to(logits.dtype)


class ChoiceDistribution(VocabularyDistribution):
    """The scores after one position was chosen, taught by reward: see ``reinforced_loss``.

    The baseline is the moving average of rewards; it starts with that of guessing.

    Args:
        vocab_size: number of tokens among which is guessed.
        entropy_weight: what a choice that stays open is worth.

    Shapes: told: the choice (B, 1, T, S), log alpha (B, T, S).
    Source: Xu et al. 2015, Show, Attend and Tell, ICML.
    """

    baseline: Tensor

    def __init__(self, *, vocab_size: int, entropy_weight: float) -> None:
        super().__init__()
        self.entropy_weight = entropy_weight
        self.guessing = -math.log(vocab_size)
        self.register_buffer("baseline", torch.tensor(self.guessing))

    def init_weights(self) -> None:
        """The reward of guessing."""
        init.constant_(self.baseline, self.guessing)

    def loss(
        self, logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None, told: Told | None
    ) -> Tensor:
        """The value is that of ``seq2seq_loss``; its gradient, while training, teaches what to choose too."""
        if not (self.training and torch.is_grad_enabled()):
            return super().loss(logits, labels, num_items_in_batch, told)
        weights, log_weights = told or ()
        loss, rewards, taught = reinforced_loss(
            logits, labels, weights[:, 0], log_weights, self.baseline, self.entropy_weight, num_items_in_batch
        )
        pace = 0.1 * (taught > 0).to(self.baseline.dtype)
        self.baseline.lerp_((rewards / taught.clamp(min=1)).to(self.baseline.dtype), pace)
        return loss


class MarginalDistribution(VocabularyDistribution):
    """The next token whichever position is read, each with its probability.

        p(w) = sum_j alpha_tj P(w | c_t = h_j)   (1)

    Shapes: told: what was read out for each position (B, T, S, E), log alpha (B, T, S) -> log p (B, T, V), computed in
        float32 at least.
    Source: Wu et al. 2018, Hard Non-Monotonic Attention for Character-Level Transduction, EMNLP.
    """

    def forward(self, score: Score, hidden: Tensor, told: Told | None) -> Tensor:
        """The logarithm of (1)."""
        slots, log_weights = told or ()
        logits = score(slots.flatten(1, 2))  # (B, T S, V)
        wide = torch.promote_types(logits.dtype, torch.float32)
        log_p = logits.to(wide).log_softmax(-1).reshape(*slots.shape[:3], -1)  # (B, T, S, V)
        return (log_p + log_weights.to(wide)[..., None]).logsumexp(2).to(logits.dtype)


def report_nothing(
    read_out: Tensor, embedded: Tensor, state: Tensor, reading: Reading, source_ids: Tensor | None
) -> tuple[Tensor, None]:
    """The last vectors say all."""
    return read_out, None


def report_choice(
    read_out: Tensor, embedded: Tensor, state: Tensor, reading: Reading, source_ids: Tensor | None
) -> tuple[Tensor, Told | None]:
    """What ``ChoiceDistribution`` is told."""
    _, weights, log_weights = reading
    return read_out, None if weights is None or log_weights is None else (weights, log_weights)


def report_every_choice(
    read_out: Tensor, embedded: Tensor, state: Tensor, reading: Reading, source_ids: Tensor | None
) -> tuple[Tensor, Told | None]:
    """What ``MarginalDistribution`` is told; the last hidden state is the mean of what it is for each position."""
    _, weights, log_weights = reading
    if weights is None or log_weights is None:
        return read_out, None
    slots = read_out.permute(1, 2, 0, 3)  # (B, T, S, E)
    mean = torch.matmul(weights[:, 0, :, None], slots)[:, :, 0]  # (B, T, E)
    return mean, (slots, log_weights)


def report_for_copying(
    read_out: Tensor, embedded: Tensor, state: Tensor, reading: Reading, source_ids: Tensor | None
) -> tuple[Tensor, Told]:
    """What ``CopyDistribution`` is told.

    Raises:
        ValueError: the source's ids are missing, or not one for each slot of the encoder's output.
    """
    context, weights, _ = reading
    if context is None or weights is None:
        raise ValueError("copy_from_source needs attention weights, but no layer gave any")
    wanted = (weights.shape[0], weights.shape[-1])
    if source_ids is None or tuple(source_ids.shape) != wanted:
        got = "none" if source_ids is None else tuple(source_ids.shape)
        raise ValueError(
            f"copy_from_source needs the source's input_ids, or an encoder output that carries source_ids, of shape "
            f"{wanted}, got {got}"
        )
    return read_out, (embedded, state, context, weights, source_ids)


def build_report(config: Any) -> Report:
    """What the decoder of this config tells of its last reading."""
    if config.copy_from_source:
        return report_for_copying
    return {"none": report_nothing, "reinforce": report_choice, "marginal": report_every_choice}[config.hard_attention]


def build_distribution(config: Any) -> VocabularyDistribution:
    """What the head of a model of this config makes of it."""
    if config.hard_attention == "reinforce":
        return ChoiceDistribution(vocab_size=config.vocab_size, entropy_weight=config.hard_attention_entropy)
    if config.hard_attention == "marginal":
        return MarginalDistribution()
    if not config.copy_from_source:
        return VocabularyDistribution()
    return CopyDistribution(
        embedding_size=config.embedding_size,
        hidden_size=config.hidden_size,
        context_size=context_width(config, config.decoder_layers),
    )
