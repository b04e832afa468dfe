"""Write a student of Marian, converted and perhaps fine-tuned, back as a file of Marian.

python scripts/export_marian.py output/en-es model.bin
python scripts/export_marian.py output/en-es model.intgemm.alphas.bin --sentences en.txt

The ending chooses the container: .npz, .bin (float32), .intgemm8.bin (8-bit weights), or .intgemm.alphas.bin, which
also holds the multipliers of 8-bit activations: they are measured while the model translates sample sentences, one a
line, some hundreds. The vocabulary stays the SentencePiece model that the student came with.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm.auto import tqdm

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its evaluate.py would hide the package of that name

from hf_rnnattn.command_line import fail
from hf_rnnattn.convert.marian_alphas import measure_alphas
from hf_rnnattn.convert.marian_export import check_exportable, export_marian, kind_of, table_of
from hf_rnnattn.generating import load_checkpoint


def export(folder: str, output: str, sentences: str | None) -> None:
    """Loads, measures where it is asked for, and writes."""
    kind_of(Path(output))  # a wrong name is found before the work
    lines = None if sentences is None else Path(sentences).read_text(encoding="utf-8").splitlines()
    model, tokenizer = load_checkpoint(folder, dtype="float32")
    check_exportable(model)
    alphas = None
    if lines is not None:
        alphas = measure_alphas(model, tokenizer, tqdm(lines, unit="sentences"), table_of(model.config))
    export_marian(model, output, alphas)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 with one line on standard error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("model", help="Checkpoint folder, or name on the Hub.")
    parser.add_argument("output", help="File that ends in .npz, .bin, .intgemm8.bin or .intgemm.alphas.bin.")
    parser.add_argument("--sentences", help="Sample sources, UTF-8, one a line: for .intgemm.alphas.bin.")
    arguments = parser.parse_args(argv)
    try:
        export(arguments.model, arguments.output, arguments.sentences)
    except (ValueError, OSError) as error:
        return fail("export_marian.py", error)
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
