"""Lexical shortlists made of aligned sentences: which target pieces each source piece became, and how often."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from hf_rnnattn.alignment import align_pairs, guided_head
from hf_rnnattn.model.alignment_rnnattn import target_side
from hf_rnnattn.model.shortlist_rnnattn import LexicalShortlist
from hf_rnnattn.word_alignment import hard_links, read_pharaoh

PairCounts = Mapping[int, Counter[int]]
Linked = Iterable[tuple[int, int]]  # source id, target id


def count_pairs(links: Linked) -> PairCounts:
    """How often each source id is linked to each target id."""
    counts: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for source, target in links:
        counts[source][target] += 1
    return counts


def links_of_model(
    model: PreTrainedModel,
    tokenizer: Any,
    pairs: Iterable[tuple[str, str]],
    *,
    batch_size: int = 32,
    threshold: float | None = None,
) -> Iterator[tuple[int, int]]:
    """The ids that a model's attention links, the ends of sentences included.

    Args:
        model, tokenizer: as for ``align_pairs``.
        pairs: (source, target) texts; those with a blank side are passed over.
        batch_size: pairs at once.
        threshold: as for ``hard_links``.
    """
    layer, head = guided_head(model)
    chosen = (pair for pair in pairs if all(text.strip() for text in pair))
    while batch := list(islice(chosen, batch_size)):
        for alignment in align_pairs(model, tokenizer, *zip(*batch, strict=True), layer=layer, head=head):
            for source, target in hard_links(alignment, threshold):
                yield alignment.source_ids[source], alignment.target_ids[target]


def links_of_lines(
    tokenizer: Any, pairs: Iterable[tuple[str, str]], alignments: Iterable[str], *, pieces: bool = False
) -> Iterator[tuple[int, int]]:
    """The ids that lines of alignments (Pharaoh format) link, piece by piece.

    Args:
        tokenizer: turns texts into pieces, and those into ids.
        pairs: (source, target) texts.
        alignments: one line a pair, between pieces.
        pieces: the texts are pieces with spaces between them, as ``spm_encode`` writes them.

    Raises:
        ValueError: a link beyond a sentence, or what is no link.
    """
    for number, (texts, line) in enumerate(zip(pairs, alignments, strict=True), start=1):
        source = _ids(tokenizer, texts[0], pieces)
        with target_side(tokenizer):
            target = _ids(tokenizer, texts[1], pieces)
        for s, t in read_pharaoh(line):
            if s >= len(source) or t >= len(target):
                raise ValueError(f"line {number} links {s}-{t}, its sides have {len(source)} and {len(target)} pieces")
            yield source[s], target[t]


def _ids(tokenizer: Any, text: str, pieces: bool) -> list[int]:
    names = text.split() if pieces else tokenizer.tokenize(text)
    ids: list[int] = tokenizer.convert_tokens_to_ids(names)
    return ids


def build_shortlist(counts: PairCounts, *, source_size: int, first: int, best: int) -> LexicalShortlist:
    """The ``best`` target ids of each source id, by their counts; of equal ones the lower ids.

    Args:
        counts: as ``count_pairs`` returns them.
        source_size: how many source ids there are.
        first: how many target ids are always candidates. In vocabularies of SentencePiece those are the most frequent
            ones, and the end of the sentence.
        best: how many targets of a source id are kept.

    Raises:
        ValueError: nothing was counted, a source id is not below ``source_size``, or ``first`` or ``best`` is below 1.
    """
    for name, value in (("first", first), ("best", best)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not counts:
        raise ValueError("a shortlist needs at least one link between pieces")
    if max(counts) >= source_size:
        raise ValueError(f"source ids must be below {source_size}, got {max(counts)}")
    lists = [[target for target, _ in _ranked(counts, source)[:best]] for source in range(source_size)]
    offsets = torch.tensor([0, *(len(found) for found in lists)]).cumsum(0)
    ids = torch.tensor([target for found in lists for target in sorted(found)])
    return LexicalShortlist(first, best, offsets, ids)


def _ranked(counts: PairCounts, source: int) -> list[tuple[int, int]]:
    return sorted(counts[source].items(), key=lambda item: (-item[1], item[0])) if source in counts else []


def write_lexical_table(counts: PairCounts, tokenizer: Any, path: str | PathLike[str]) -> None:
    """Writes the text form that Marian reads, ``target source probability``: P(target | source), the likely first."""
    lines = []
    for source in sorted(counts):
        total, (name,) = counts[source].total(), tokenizer.convert_ids_to_tokens([source])
        ranked = _ranked(counts, source)
        with target_side(tokenizer):
            names = tokenizer.convert_ids_to_tokens([target for target, _ in ranked])
        lines += [f"{target} {name} {count / total:.8f}\n" for target, (_, count) in zip(names, ranked, strict=True)]
    Path(path).write_text("".join(lines), encoding="utf-8")
