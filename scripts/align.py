"""Word alignments of sentence pairs, by the attention of a model: one line a pair, as 0-0 1-2 (source-target).

python scripts/align.py --model output/en-es --source_file en.txt --target_file es.txt > links.txt
paste en.txt es.txt | python scripts/align.py --model output/en-es > links.txt

Without files, a line of standard input is a source, a tab and its target. A pair with a blank side has an empty line.
Students of Marian have one head that was trained on alignments, the one that marian-decoder --alignment prints; it is
the default for them. For others it is the mean of the last layer's heads.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tqdm.auto import tqdm

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its evaluate.py would hide the package of that name

from hf_rnnattn.command_line import fail, parse_dataclasses
from hf_rnnattn.generating import load_checkpoint
from hf_rnnattn.word_alignment import PairAligner, paired_lines, pharaoh, tabbed_lines


@dataclass
class AlignArguments:
    """What to align, and by what."""

    model: str = field(metadata={"help": "Checkpoint folder, or name on the Hub."})
    source_file: str | None = field(default=None, metadata={"help": "UTF-8 text, a sentence a line."})
    target_file: str | None = field(default=None, metadata={"help": "UTF-8 text, their translations."})
    unit: str = field(default="word", metadata={"help": "word (between spaces) or piece (of the tokenizer)."})
    threshold: float | None = field(
        default=None, metadata={"help": "Links above this weight; default: the strongest of each target token."}
    )
    layer: int | None = field(default=None, metadata={"help": "Decoder layer, from 0; -1: the last."})
    head: int | None = field(default=None, metadata={"help": "Head of that layer, from 0."})
    batch_size: int = field(default=32, metadata={"help": "Pairs at once."})
    device: str | None = field(default=None, metadata={"help": "cpu, cuda, ...; default: a GPU if there is one."})
    dtype: str = field(default="auto", metadata={"help": "float32, bfloat16, float16; default: the checkpoint's."})
    revision: str = field(default="main", metadata={"help": "Branch, tag or commit on the Hub."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that comes with the model."})


def align_lines(arguments: AlignArguments) -> Iterator[str]:
    """One line a pair."""
    if (arguments.source_file is None) != (arguments.target_file is None):
        raise ValueError("source_file and target_file must be given together, or neither")
    if arguments.batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {arguments.batch_size}")
    with ExitStack() as files:
        if arguments.source_file is None or arguments.target_file is None:
            lines, count = tabbed_lines(sys.stdin), None
        else:
            names = (arguments.source_file, arguments.target_file)
            source, target = (files.enter_context(Path(name).open(encoding="utf-8")) for name in names)
            count = sum(1 for _ in paired_lines(source, target))  # a missing line is found before hours of work
            source.seek(0)
            target.seek(0)
            lines = paired_lines(source, target)
        model, tokenizer = load_checkpoint(
            arguments.model,
            device=arguments.device,
            dtype=arguments.dtype,
            revision=arguments.revision,
            trust_remote_code=arguments.trust_remote_code,
        )
        aligner = PairAligner(
            model,
            tokenizer,
            layer=arguments.layer,
            head=arguments.head,
            threshold=arguments.threshold,
            unit=arguments.unit,
        )
        with tqdm(total=count, unit="pairs") as bar:
            while batch := list(islice(lines, arguments.batch_size)):
                yield from map(pharaoh, aligner(*zip(*batch, strict=True)))
                bar.update(len(batch))


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 with one line on standard error."""
    (arguments,) = parse_dataclasses((AlignArguments,), argv, __doc__)
    try:
        for line in align_lines(arguments):
            print(line, flush=True)
    except BrokenPipeError:  # the reader, `head` for one, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush does not fail again
    except (ValueError, OSError) as error:
        return fail("align.py", error)
    return 0


if __name__ == "__main__":
    sys.stdin.reconfigure(encoding="utf-8")
    sys.stdout.reconfigure(encoding="utf-8")
    sys.exit(main())
