"""Generate from lines of text: reads a file or standard input, writes the answers line by line as they come.

python scripts/generate.py --model output/g2p --num_beams 4 < words.txt
tail -f words.txt | python scripts/generate.py --model output/g2p

An empty line is answered by an empty line. With --num_return_sequences n every line has n answers, on n lines, best
first.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from transformers import set_seed

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its evaluate.py would hide the package of that name

from hf_rnnattn.command_line import fail, parse_dataclasses
from hf_rnnattn.generating import TextGenerator, load_checkpoint
from hf_rnnattn.streaming import generate_lines


@dataclass
class GenerateArguments:
    """What to generate with."""

    model: str = field(metadata={"help": "Checkpoint folder, or name on the Hub."})
    input_file: str | None = field(default=None, metadata={"help": "UTF-8 text; default: standard input."})
    text_pair: bool = field(default=False, metadata={"help": "A line holds two segments with a tab between them."})
    batch_size: int = field(default=32, metadata={"help": "Most lines at once."})
    max_source_length: int | None = field(default=None, metadata={"help": "Longer lines are cut to so many tokens."})
    device: str | None = field(default=None, metadata={"help": "cpu, cuda, ...; default: a GPU if there is one."})
    dtype: str = field(default="auto", metadata={"help": "float32, bfloat16, float16; default: the checkpoint's."})
    revision: str = field(default="main", metadata={"help": "Branch, tag or commit on the Hub."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that comes with the model."})
    seed: int = field(default=42, metadata={"help": "Of sampling."})


@dataclass
class SearchArguments:
    """For ``generate``; what is not given is as the model's generation config has it."""

    num_beams: int | None = field(default=None, metadata={"help": "Beams."})
    num_return_sequences: int | None = field(default=None, metadata={"help": "Answers a line."})
    max_new_tokens: int | None = field(default=None, metadata={"help": "Longest answer, in tokens."})
    length_penalty: float | None = field(default=None, metadata={"help": "Above 0 beams prefer longer answers."})
    do_sample: bool | None = field(default=None, metadata={"help": "Sample instead of searching."})
    temperature: float | None = field(default=None, metadata={"help": "Of sampling."})
    top_k: int | None = field(default=None, metadata={"help": "Of sampling."})
    top_p: float | None = field(default=None, metadata={"help": "Of sampling."})


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 with one line on standard error."""
    arguments, search = parse_dataclasses((GenerateArguments, SearchArguments), argv, __doc__)
    set_seed(arguments.seed)
    try:
        model, tokenizer = load_checkpoint(
            arguments.model,
            device=arguments.device,
            dtype=arguments.dtype,
            revision=arguments.revision,
            trust_remote_code=arguments.trust_remote_code,
        )
        generator = TextGenerator(model, tokenizer, max_source_length=arguments.max_source_length, **vars(search))
        with (
            Path(arguments.input_file).open(encoding="utf-8")
            if arguments.input_file
            else nullcontext(sys.stdin) as source
        ):
            generate_lines(generator, source, sys.stdout, batch_size=arguments.batch_size, paired=arguments.text_pair)
    except BrokenPipeError:  # the reader, `head` for one, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush does not fail again
    except (ValueError, OSError) as error:
        return fail("generate.py", error)
    return 0


if __name__ == "__main__":
    sys.stdin.reconfigure(encoding="utf-8")
    sys.stdout.reconfigure(encoding="utf-8")
    sys.exit(main())
