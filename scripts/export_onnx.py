"""Exports a trained model to ONNX: encoder.onnx, decoder_step.onnx and graphs.json, beside configs and tokenizer.

python scripts/export_onnx.py --model output/g2p --output output/g2p-onnx

docs/export.md says what the graphs take and give, and how to decode with them.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its evaluate.py would hide the package of that name

from hf_rnnattn.command_line import fail, parse_dataclasses
from hf_rnnattn.onnx_export import export_onnx


@dataclass
class ExportArguments:
    """What to export."""

    model: str = field(metadata={"help": "Checkpoint folder, or name on the Hub."})
    output: str = field(metadata={"help": "Folder for the files; made if it is not there."})
    revision: str = field(default="main", metadata={"help": "Branch, tag or commit on the Hub."})


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 with one line on standard error."""
    (arguments,) = parse_dataclasses((ExportArguments,), argv, __doc__)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of operators that are not used here
    try:
        model = AutoModelForSeq2SeqLM.from_pretrained(arguments.model, revision=arguments.revision, dtype="float32")
        tokenizer = AutoTokenizer.from_pretrained(arguments.model, revision=arguments.revision)
        export_onnx(model, arguments.output, tokenizer)
    except (ImportError, TypeError, ValueError, OSError) as error:
        return fail("export_onnx.py", error)
    for file in sorted(Path(arguments.output).glob("*.onnx*")):
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
