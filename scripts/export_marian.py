"""Write a student of Marian, converted and perhaps fine-tuned, back as a file of Marian.

python scripts/export_marian.py output/en-es model.bin

The ending chooses the container: .npz, .bin (float32), or .intgemm8.bin (8-bit weights, without the multipliers of
activations). The vocabulary stays the SentencePiece model that the student came with.
"""

import argparse
import sys
from collections.abc import Sequence

from transformers import AutoModelForSeq2SeqLM

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its evaluate.py would hide the package of that name

import hf_rnnattn  # noqa: F401  (registers the family)
from hf_rnnattn.command_line import fail
from hf_rnnattn.convert.marian_export import export_marian


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 with one line on standard error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("model", help="Checkpoint folder, or name on the Hub.")
    parser.add_argument("output", help="File that ends in .npz, .bin or .intgemm8.bin.")
    arguments = parser.parse_args(argv)
    try:
        export_marian(AutoModelForSeq2SeqLM.from_pretrained(arguments.model), arguments.output)
    except (ValueError, OSError) as error:
        return fail("export_marian.py", error)
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
