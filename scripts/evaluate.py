"""Measure a checkpoint: generate for the sources of a file or of a dataset's split, print metrics by name.

python scripts/evaluate.py --model output/g2p --dataset cmudict --num_beams 4
python scripts/evaluate.py --model output/en-it --test_file test.tsv --metrics bleu chrf --output_file scores.json
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its evaluate.py would hide the package of that name

from hf_rnnattn.checkpoint_evaluation import measure_texts, measurement_record, metrics_table
from hf_rnnattn.command_line import command_line, fail, parse_dataclasses
from hf_rnnattn.generating import TextGenerator, load_checkpoint
from hf_rnnattn.results import write_results, write_text
from hf_rnnattn.training_arguments import DataArguments
from hf_rnnattn.training_data import load_training_data


@dataclass
class EvaluateArguments:
    """What to measure and how to generate. Data and metrics are named as in training."""

    model: str = field(metadata={"help": "Checkpoint folder, or name on the Hub."})
    split: str = field(default="test", metadata={"help": "train, validation or test."})
    batch_size: int = field(default=32, metadata={"help": "Texts at once."})
    num_beams: int | None = field(default=None, metadata={"help": "Beams; default: the model's own setting."})
    max_new_tokens: int | None = field(default=None, metadata={"help": "Longest output; default: the model's own."})
    length_penalty: float | None = field(default=None, metadata={"help": "Above 0 beams prefer longer outputs."})
    output_file: str | None = field(default=None, metadata={"help": "JSON file for the record of the measurement."})
    predictions_file: str | None = field(default=None, metadata={"help": "Text file for the outputs, one a line."})
    device: str | None = field(default=None, metadata={"help": "cpu, cuda, ...; default: a GPU if there is one."})
    dtype: str = field(default="auto", metadata={"help": "float32, bfloat16, float16; default: the checkpoint's."})
    revision: str = field(default="main", metadata={"help": "Branch, tag or commit on the Hub."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that comes with the model."})


def evaluate(arguments: EvaluateArguments, wanted: DataArguments, command: str) -> None:
    """Measure, print and write."""
    data = load_training_data(wanted)
    if arguments.split not in data.splits:
        raise ValueError(f"there is no {arguments.split} data; the data has {', '.join(data.splits)}")
    model, tokenizer = load_checkpoint(
        arguments.model,
        device=arguments.device,
        dtype=arguments.dtype,
        revision=arguments.revision,
        trust_remote_code=arguments.trust_remote_code,
    )
    generator = TextGenerator(
        model,
        tokenizer,
        max_source_length=wanted.max_source_length,
        num_beams=arguments.num_beams,
        max_new_tokens=arguments.max_new_tokens,
        length_penalty=arguments.length_penalty,
    )
    measurement = measure_texts(
        generator,
        data.splits[arguments.split],
        wanted.metrics or ["exact_match"],
        batch_size=arguments.batch_size,
        source_prefix=wanted.source_prefix,
    )
    if not generator.state.is_main_process:
        return
    print(metrics_table(measurement.metrics))
    if arguments.output_file:
        record = measurement_record(arguments.model, data, arguments.split, measurement, generator, command)
        write_results(Path(arguments.output_file), record)
    if arguments.predictions_file:
        lines = (" ".join(text.splitlines()) for text in measurement.predictions)
        write_text(arguments.predictions_file, "".join(f"{line}\n" for line in lines))


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 with one line on standard error."""
    flags = sys.argv[1:] if argv is None else list(argv)
    arguments, wanted = parse_dataclasses((EvaluateArguments, DataArguments), flags, __doc__)
    try:
        evaluate(arguments, wanted, command_line("scripts/evaluate.py", flags))
    except (ValueError, OSError, ModuleNotFoundError) as error:
        return fail("evaluate.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
