"""Prompt lookup for encoder-decoders: proposals come from the source too, and no more of them than have paid off."""

from typing import Any

import torch
from torch import Tensor
from transformers.generation.candidate_generator import CandidateGenerator, PromptLookupCandidateGenerator


class SourceLookupCandidateGenerator(CandidateGenerator):
    """Proposes what followed the last tokens where they occurred before: in the source, else among those produced.

    transformers' own generator looks at the decoder's tokens only, where an encoder-decoder has no prompt to copy
    from, and proposes a full number of tokens in every round, also where nothing is copied. Here

    1. the longest match of the last tokens counts, up to ``max_matching_ngram_size``; of several the first one behind
       what was copied last, since copies as a rule run from left to right;
    2. as many tokens are proposed as were taken in the round before, twice as many after a round in which all were
       taken, and never more than ``prompt_lookup_num_tokens``;
    3. after a round in which none was taken, only a match of the full size counts.

    What is produced does not depend on the proposals; only the time does.

    Args:
        settings: transformers' own generator, as ``generate`` built it.
        source: (S,) the source's real tokens, if they are of the target's vocabulary.

    Source: Saxena 2023, Prompt Lookup Decoding.
    """

    def __init__(self, settings: PromptLookupCandidateGenerator, source: Tensor | None) -> None:
        self.most = settings.num_output_tokens
        self.longest_match = settings.max_matching_ngram_size
        self.max_length = settings.max_length
        self.eos_token_id = settings.eos_token_id
        self.source = source
        self.limit = self.most
        self.shortest_match = 1
        self.start, self.proposed = 0, 0  # of the last proposal

    def get_candidates(self, input_ids: Tensor, **kwargs: Any) -> tuple[Tensor, None]:
        """The tokens so far (1, T), followed by those proposed: (1, T + n)."""
        self.proposed = 0
        room = self.max_length - input_ids.shape[1] - 1  # the model adds a token of its own
        tokens = input_ids[0]
        context = tokens if self.source is None else torch.cat([self.source, tokens])
        start = self._continuation(context, tokens) if room > 0 else None
        if start is None:
            return input_ids, None
        found = self._before_the_end(context[start : start + min(self.limit, room)])
        self.start, self.proposed = start, len(found)
        return torch.cat([input_ids, found[None]], dim=1), None

    def update_candidate_strategy(self, input_ids: Tensor, scores: Tensor, num_matches: Any) -> None:
        """Learns from how many of the proposed tokens were taken."""
        if not self.proposed:
            return
        taken = int(num_matches)
        self.start += taken
        self.shortest_match = 1 if taken else self.longest_match
        self.limit = min(self.most, 2 * self.limit) if taken >= self.proposed else max(1, taken)

    def _continuation(self, context: Tensor, tokens: Tensor) -> int | None:
        """Where in ``context`` (L,) goes on what ``tokens`` (T,) ends with; None if it does not occur before."""
        ends, found = context[:-1] == tokens[-1], 1  # (L - 1,): where matches end; the size of these
        if not ends.any():
            return None
        for size in range(2, min(self.longest_match, len(tokens)) + 1):
            longer = ends.clone()
            longer[: size - 1] = False
            longer[size - 1 :] &= context[:-size] == tokens[-size]
            if not longer.any():
                break
            ends, found = longer, size
        if found < self.shortest_match:
            return None
        starts = ends.nonzero()[:, 0] + 1
        behind = starts[starts >= self.start]
        return int(behind[0] if len(behind) else starts[0])

    def _before_the_end(self, proposed: Tensor) -> Tensor:
        if self.eos_token_id is None:
            return proposed
        ends = torch.isin(proposed, self.eos_token_id.to(proposed.device)).nonzero()
        return proposed[: int(ends[0])] if len(ends) else proposed


def real_tokens(source: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """The tokens (S,) of the only row of ``source`` (1, L) without padding; None of anything but ids."""
    if source is None or source.dim() != 2 or source.is_floating_point():
        return None
    return source[0] if mask is None else source[0][mask[0].bool()]
