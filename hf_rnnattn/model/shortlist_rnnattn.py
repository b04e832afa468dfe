"""Lexical shortlists: for each source the few tokens that its translation may use, so that no others are scored."""

from typing import Any

import torch
from torch import Tensor, nn

from .plain_linear import is_plain, linear
from .transformers_versions import GenerationHooks

MULTIPLE = 8  # Marian fills up the candidates to a multiple of this


class LexicalShortlist:
    """For each source token the target tokens that it may become, as Marian and Bergamot have it.

    The candidates of a source are the ``first`` ids of the vocabulary, the lists of its tokens, its tokens themselves
    where both sides have one vocabulary, and then as many ids from ``first`` on as make a multiple of 8.

    Args:
        first: how many ids are always candidates: the most frequent ones.
        best: how many tokens a list may have.
        offsets: (W + 1,) where the list of each source token starts, and the last one ends.
        ids: (L,) the lists, one after the other.

    Raises:
        ValueError: offsets that do not rise from 0 to L, or negative numbers.
    """

    def __init__(self, first: int, best: int, offsets: Tensor, ids: Tensor) -> None:
        rising = offsets.numel() > 0 and bool((offsets.diff() >= 0).all())
        if not rising or int(offsets[0]) != 0 or int(offsets[-1]) > ids.numel():
            raise ValueError(f"offsets must rise from 0 to at most {ids.numel()}, the number of ids")
        if first < 0 or best < 0 or (ids.numel() and int(ids.min()) < 0):
            raise ValueError(f"first, best and ids must be at least 0, got {first} and {best}")
        self.first, self.best, self.offsets, self.ids = first, best, offsets.long(), ids.long()

    def candidates(self, source: Tensor, vocab_size: int, *, shared: bool) -> Tensor:
        """The candidates of one source (S,) without padding: (C,) ids, sorted."""
        source = source.to(self.ids.device)
        known = source[source < self.offsets.numel() - 1]
        lists = [self.ids[self.offsets[token] : self.offsets[token + 1]] for token in known]
        parts = [
            torch.arange(min(self.first, vocab_size), device=source.device),
            *lists,
            *([source] if shared else []),
        ]
        found: Tensor = torch.unique(torch.cat(parts))
        missing = -found.numel() % MULTIPLE
        if missing:
            last = min(vocab_size, self.first + found.numel() + missing)
            more = torch.arange(self.first, last, device=source.device)
            found = torch.unique(torch.cat([found, more[~torch.isin(more, found)][:missing]]))
        if found.numel() and int(found[-1]) >= vocab_size:
            raise ValueError(f"the shortlist has id {int(found[-1])}, the vocabulary {vocab_size} tokens")
        return found


class Candidates:
    """The rows of the output matrix that a batch may use, and which of them each source may; filled once a batch."""

    ids: Tensor  # (C,)
    allowed: Tensor  # (B, C) bool
    layer: nn.Linear | None  # these rows of the output matrix; None where a product is not simply one with it

    def __init__(self, shortlist: LexicalShortlist, mask: Tensor | None) -> None:
        self.shortlist, self.mask = shortlist, mask

    def fill(self, source: Tensor, output: Any, vocab_size: int, *, shared: bool) -> None:
        """Chooses the candidates of a batch of sources (B, S)."""
        real = torch.ones_like(source, dtype=torch.bool) if self.mask is None else self.mask.bool()
        rows = [
            self.shortlist.candidates(row[keep], vocab_size, shared=shared)
            for row, keep in zip(source, real, strict=True)
        ]
        ids = torch.unique(torch.cat(rows))
        self.allowed = torch.stack([torch.isin(ids, row) for row in rows]).to(output.weight.device)
        self.ids = ids.to(output.weight.device)
        self.layer = self._rows_of(output) if is_plain(output) else None

    def _rows_of(self, output: nn.Linear) -> nn.Linear:
        has_bias = output.bias is not None
        layer = nn.Linear(output.in_features, self.ids.numel(), bias=has_bias, device="meta")
        layer.weight = nn.Parameter(output.weight.detach()[self.ids], requires_grad=False)
        if has_bias:
            layer.bias = nn.Parameter(output.bias.detach()[self.ids], requires_grad=False)
        return layer

    def logits(self, output: Any, x: Tensor) -> Tensor:
        """(R, T, V) logits of x (R, T, D), R a multiple of B; -inf for what a row's source does not allow."""
        scores = linear(output, x)[..., self.ids] if self.layer is None else linear(self.layer, x)  # (R, T, C)
        allowed = self.allowed.repeat_interleave(x.shape[0] // len(self.allowed), dim=0)  # (R, C)
        logits = scores.new_full((*x.shape[:-1], output.out_features), -torch.inf)
        logits[..., self.ids] = scores.masked_fill(~allowed[:, None], -torch.inf)
        return logits


class ShortlistMixin(GenerationHooks):
    """``generate(shortlist=...)``: only the candidates of a batch are scored, and each row may use its own."""

    def prepared_settings(self, generation_config: Any, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        shortlist = kwargs.pop("shortlist", None)
        config, model_kwargs = super().prepared_settings(generation_config, *args, **kwargs)
        if shortlist is not None:
            if model_kwargs.get("encoder_outputs") is not None or model_kwargs.get("inputs_embeds") is not None:
                raise ValueError("a shortlist needs the source's input_ids, not encoder_outputs or inputs_embeds")
            config._candidates = Candidates(shortlist, model_kwargs.get("attention_mask"))
            model_kwargs["decoder_candidates"] = config._candidates
        return config, model_kwargs

    def prepared_length(self, generation_config: Any, *args: Any, **kwargs: Any) -> Any:
        candidates = getattr(generation_config, "_candidates", None)
        if candidates is not None:  # here the source is known, and nothing was scored yet
            config: Any = self.config
            shared = config.share_encoder_decoder_embeddings
            output: Any = self.get_output_embeddings()  # type: ignore[attr-defined]
            candidates.fill(kwargs["inputs_tensor"], output, config.vocab_size, shared=shared)
        return super().prepared_length(generation_config, *args, **kwargs)
