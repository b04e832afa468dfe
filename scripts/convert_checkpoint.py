"""Turn a checkpoint of another toolkit into a folder that from_pretrained loads.

python scripts/convert_checkpoint.py --from marian model.intgemm.alphas.bin --vocab vocab.spm --output en-es
python scripts/convert_checkpoint.py --from marian model.npz --vocab src.spm --target_vocab trg.spm --output en-ja

Marian: the students of Bergamot and Firefox, transformer encoders with an SSRU decoder, in float32 or 8 bits, also
inside .gz or .zst. Either the whole folder is written or nothing.
"""

import argparse
import sys
from collections.abc import Sequence

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its evaluate.py would hide the package of that name

from hf_rnnattn.command_line import fail
from hf_rnnattn.convert.marian_folder import convert_marian

TOOLKITS = {"marian": convert_marian}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 with one line on standard error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("model", help="File of weights.")
    parser.add_argument("--from", dest="toolkit", choices=sorted(TOOLKITS), required=True, help="Where it comes from.")
    parser.add_argument("--vocab", required=True, help="SentencePiece model, of both sides or of the source.")
    parser.add_argument("--target_vocab", help="SentencePiece model of the target, where it is another.")
    parser.add_argument("--keep_8bit", action="store_true", help="Matrices in 8 bits stay so: needs torchao.")
    parser.add_argument("--output", required=True, help="Folder of the checkpoint.")
    arguments = parser.parse_args(argv)
    try:
        TOOLKITS[arguments.toolkit](
            arguments.model,
            arguments.vocab,
            arguments.target_vocab,
            output=arguments.output,
            keep_8bit=arguments.keep_8bit,
        )
    except (ValueError, OSError, ImportError) as error:
        return fail("convert_checkpoint.py", error)
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
