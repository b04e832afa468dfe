r"""Turn a checkpoint of another toolkit into a folder that from_pretrained loads.

python scripts/convert_checkpoint.py --from marian model.intgemm.alphas.bin --vocab vocab.spm --output en-es
python scripts/convert_checkpoint.py --from marian model.npz --vocab src.spm --target_vocab trg.spm --output en-ja
python scripts/convert_checkpoint.py --from joeynmt models/g2p/best.ckpt --output g2p
python scripts/convert_checkpoint.py --from opennmt model_step_10000.pt --output de-en
python scripts/convert_checkpoint.py --from eole models/de-en --output de-en
python scripts/convert_checkpoint.py --from fairseq checkpoint_best.pt --vocab dict.de.txt --target_vocab dict.en.txt \
    --output de-en
python scripts/convert_checkpoint.py --from g2p_en checkpoint20.npz --output g2p

Marian: the students of Bergamot and Firefox, transformer encoders with an SSRU decoder, in float32 or 8 bits, also
inside .gz or .zst. JoeyNMT 2, OpenNMT-py 3 and eole: recurrent models. fairseq: models of the lstm architectures.
g2p_en: the model inside the package g2p-en. Either the whole folder is written or nothing.
docs/toolkits.md says what is read of each.
"""

import argparse
import sys
from collections.abc import Sequence

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its evaluate.py would hide the package of that name

from hf_rnnattn.command_line import fail
from hf_rnnattn.convert.eole import convert_eole
from hf_rnnattn.convert.fairseq import convert_fairseq
from hf_rnnattn.convert.g2p_en import convert_g2p_en
from hf_rnnattn.convert.joeynmt import convert_joeynmt
from hf_rnnattn.convert.marian_folder import convert_marian
from hf_rnnattn.convert.opennmt import convert_opennmt

TOOLKITS = {
    "eole": convert_eole,
    "fairseq": convert_fairseq,
    "g2p_en": convert_g2p_en,
    "joeynmt": convert_joeynmt,
    "marian": convert_marian,
    "opennmt": convert_opennmt,
}
NEED_VOCABULARY = ("fairseq", "marian")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 with one line on standard error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("model", help="File of weights, or folder of a model.")
    parser.add_argument("--from", dest="toolkit", choices=sorted(TOOLKITS), required=True, help="Where it comes from.")
    parser.add_argument("--vocab", help="Vocabulary of both sides or of the source, if the model has none beside it.")
    parser.add_argument("--target_vocab", help="Vocabulary of the target, where it is another.")
    parser.add_argument("--keep_8bit", action="store_true", help="Marian: matrices in 8 bits stay so, with torchao.")
    parser.add_argument("--output", required=True, help="Folder of the checkpoint.")
    arguments = parser.parse_args(argv)
    if arguments.toolkit in NEED_VOCABULARY and arguments.vocab is None:
        parser.error(f"--from {arguments.toolkit} needs --vocab")
    if arguments.keep_8bit and arguments.toolkit != "marian":
        parser.error("--keep_8bit is for --from marian: no other toolkit has 8-bit weights")
    more = {"keep_8bit": True} if arguments.keep_8bit else {}
    try:
        TOOLKITS[arguments.toolkit](
            arguments.model, arguments.vocab, arguments.target_vocab, output=arguments.output, **more
        )
    except (ValueError, OSError, ImportError) as error:
        return fail("convert_checkpoint.py", error)
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
