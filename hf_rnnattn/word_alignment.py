"""Word alignments of sentence pairs in the Pharaoh format: ``0-0 1-2``, source-target, counted from 0."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, TextIO

from transformers import PreTrainedModel

from hf_rnnattn.alignment import Alignment, align_pairs, guided_head

UNITS = ("word", "piece")
Links = list[tuple[int, int]]


class PairAligner:
    """Aligns sentence pairs by the attention of a model.

    Args:
        model, tokenizer: as ``load_checkpoint`` returns them; the tokenizer must be a fast one.
        layer, head: as for ``align_pairs``; both None: what ``guided_head`` says.
        threshold: links are those above it, as with a number for Marian's ``--alignment``; None: the strongest link of
            each target token, as ``--alignment hard``.
        unit: ``word``, what stands between spaces, or ``piece``, the tokens themselves.

    Raises:
        ValueError: the threshold is not in [0, 1), or the unit is another.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        *,
        layer: int | None = None,
        head: int | None = None,
        threshold: float | None = None,
        unit: str = "word",
    ) -> None:
        if threshold is not None and not 0 <= threshold < 1:
            raise ValueError(f"threshold must be in [0, 1), got {threshold}")
        if unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")
        guided = guided_head(model)
        self.layer, self.head = guided if layer is None and head is None else (-1 if layer is None else layer, head)
        self.model, self.tokenizer, self.threshold, self.unit = model, tokenizer, threshold, unit

    def __call__(self, sources: Sequence[str], targets: Sequence[str]) -> list[Links]:
        """The links of each pair, sorted; none where a side is blank."""
        chosen = [n for n, pair in enumerate(zip(sources, targets, strict=True)) if all(text.strip() for text in pair)]
        found: list[Links] = [[] for _ in sources]
        if not chosen:
            return found
        texts = [sources[n] for n in chosen], [targets[n] for n in chosen]
        alignments = align_pairs(self.model, self.tokenizer, *texts, layer=self.layer, head=self.head)
        units = self._units(texts[0]), self._units(texts[1], target=True)
        for n, alignment, source, target in zip(chosen, alignments, *units, strict=True):
            pairs = (
                (source[s], target[t]) for s, t in hard_links(alignment, self.threshold) if s in source and t in target
            )
            found[n] = sorted(set(pairs))
        return found

    def _units(self, texts: Sequence[str], target: bool = False) -> list[dict[int, int]]:
        """For each text, which token is (a part of) which unit; what the tokenizer added is none."""
        given = {"text_target" if target else "text": list(texts)}
        batch = self.tokenizer(**given, return_offsets_mapping=True, return_special_tokens_mask=True)
        found = []
        for text, offsets, added in zip(texts, batch["offset_mapping"], batch["special_tokens_mask"], strict=True):
            places = [at for at, special in enumerate(added) if not special]
            units = words_of(text, [offsets[at] for at in places]) if self.unit == "word" else range(len(places))
            found.append(dict(zip(places, units, strict=True)))
        return found


def hard_links(alignment: Alignment, threshold: float | None = None) -> Links:
    """Links (source token, target token) above the threshold, or None: the strongest of each target token; sorted."""
    pairs = alignment.best() if threshold is None else alignment.pairs(threshold)
    return sorted((source, target) for target, source, _ in pairs)


def words_of(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The word (between white space, from 0) to which each token belongs, by where the token starts.

    A token that starts in the space before a word, as those of SentencePiece do, belongs to that word.
    """
    ends = [match.end() for match in re.finditer(r"\S+", text)]
    return [min(bisect_right(ends, start), len(ends) - 1) for start, _ in offsets]


def pharaoh(links: Iterable[tuple[int, int]]) -> str:
    """``0-0 1-2`` of [(0, 0), (1, 2)]."""
    return " ".join(f"{source}-{target}" for source, target in links)


def read_pharaoh(line: str) -> Links:
    """[(0, 0), (1, 2)] of ``0-0 1-2``.

    Raises:
        ValueError: something in the line is no link.
    """
    found = []
    for link in line.split():
        match = re.fullmatch(r"(\d{1,9})-(\d{1,9})", link)
        if match is None:
            raise ValueError(f"a link must be two numbers, as 0-0, got {link!r}")
        found.append((int(match[1]), int(match[2])))
    return found


def paired_lines(source: TextIO, target: TextIO) -> Iterator[tuple[str, str]]:
    """The lines of two texts side by side.

    Raises:
        ValueError: one has more lines than the other.
    """
    for number, (one, other) in enumerate(zip_longest(source, target)):
        if one is None or other is None:
            short, long = ("source", "target") if one is None else ("target", "source")
            raise ValueError(f"the {short} ends after {number} lines, the {long} does not")
        yield one.rstrip("\r\n"), other.rstrip("\r\n")


def tabbed_lines(text: TextIO) -> Iterator[tuple[str, str]]:
    """Source and target of lines with a tab between them.

    Raises:
        ValueError: a line has no tab, or several.
    """
    for number, line in enumerate(text, start=1):
        parts = line.rstrip("\r\n").split("\t")
        if len(parts) != 2:
            raise ValueError(f"line {number} must be a source, one tab and its target, got {len(parts) - 1} tabs")
        yield parts[0], parts[1]
