"""Build a lexical shortlist of a parallel text, for generate(shortlist=...), Marian and Bergamot.

python scripts/build_shortlist.py --model output/en-es --source_file en.txt --target_file es.txt --output lex.bin

Counts which pieces of a source become which of its target, by the model's own alignments, or by those of a file
(--alignment_file, links between pieces as align.py --unit piece prints them), and keeps for each source piece those
that it became most often.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm.auto import tqdm

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its evaluate.py would hide the package of that name

from hf_rnnattn.command_line import fail, parse_dataclasses
from hf_rnnattn.convert.marian_shortlist import write_shortlist
from hf_rnnattn.generating import load_checkpoint
from hf_rnnattn.shortlist_building import (
    build_shortlist,
    count_pairs,
    links_of_lines,
    links_of_model,
    write_lexical_table,
)
from hf_rnnattn.word_alignment import paired_lines


@dataclass
class ShortlistArguments:
    """What to count, and what to keep."""

    model: str = field(metadata={"help": "Checkpoint folder, or name on the Hub."})
    source_file: str = field(metadata={"help": "UTF-8 text, a sentence a line."})
    target_file: str = field(metadata={"help": "UTF-8 text, their translations."})
    output: str = field(metadata={"help": "Binary shortlist to write."})
    text_output: str | None = field(default=None, metadata={"help": "Its text form: target, source, probability."})
    alignment_file: str | None = field(default=None, metadata={"help": "Links between pieces, a line a pair."})
    pieces: bool = field(default=False, metadata={"help": "With alignments: the files hold pieces, not texts."})
    first: int = field(default=50, metadata={"help": "So many pieces of the vocabulary are always candidates."})
    best: int = field(default=50, metadata={"help": "Most candidates of a source piece."})
    threshold: float | None = field(
        default=None, metadata={"help": "Links of the model above this weight; default: the strongest of each token."}
    )
    batch_size: int = field(default=32, metadata={"help": "Pairs at once."})
    device: str | None = field(default=None, metadata={"help": "cpu, cuda, ...; default: a GPU if there is one."})
    revision: str = field(default="main", metadata={"help": "Branch, tag or commit on the Hub."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that comes with the model."})


def read_pairs(arguments: ShortlistArguments) -> list[tuple[str, str]]:
    """Both texts, side by side."""
    with (
        Path(arguments.source_file).open(encoding="utf-8") as source,
        Path(arguments.target_file).open(encoding="utf-8") as target,
    ):
        return list(paired_lines(source, target))


def read_alignments(arguments: ShortlistArguments, pairs: Sequence[tuple[str, str]]) -> list[str] | None:
    """Their alignments, if they are given."""
    if arguments.alignment_file is None:
        if arguments.pieces:
            raise ValueError("pieces needs an alignment_file: the model aligns texts")
        return None
    lines = Path(arguments.alignment_file).read_text(encoding="utf-8").splitlines()
    if len(lines) != len(pairs):
        raise ValueError(f"alignment_file has {len(lines)} lines, the texts have {len(pairs)}")
    return lines


def build(arguments: ShortlistArguments) -> None:
    """Counts and writes."""
    if arguments.batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {arguments.batch_size}")
    pairs = read_pairs(arguments)
    lines = read_alignments(arguments, pairs)
    model, tokenizer = load_checkpoint(
        arguments.model,
        device=arguments.device,
        revision=arguments.revision,
        trust_remote_code=arguments.trust_remote_code,
    )
    bar = tqdm(pairs, unit="pairs")

    if lines is not None:
        links = links_of_lines(tokenizer, bar, lines, pieces=arguments.pieces)
    else:
        sizes = {"batch_size": arguments.batch_size, "threshold": arguments.threshold}
        links = links_of_model(model, tokenizer, bar, **sizes)
    with bar:
        counts = count_pairs(links)
    shortlist = build_shortlist(
        counts, source_size=model.config.encoder_vocab_size - 1, first=arguments.first, best=arguments.best
    )
    write_shortlist(shortlist, arguments.output)
    if arguments.text_output:
        write_lexical_table(counts, tokenizer, arguments.text_output)
    print(arguments.output)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 with one line on standard error."""
    (arguments,) = parse_dataclasses((ShortlistArguments,), argv, __doc__)
    try:
        build(arguments)
    except (ValueError, OSError) as error:
        return fail("build_shortlist.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
