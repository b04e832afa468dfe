"""Train or fine-tune a sequence-to-sequence model: one of this package, or any of transformers.

python scripts/train_seq2seq.py --output_dir output/g2p --dataset cmudict --source_tokenizer char \\
    --target_tokenizer whitespace --metrics phoneme_error_rate g2p_word_error_rate --max_train_minutes 3
python scripts/train_seq2seq.py run.yaml --learning_rate 1e-3
accelerate launch scripts/train_seq2seq.py run.json

A YAML or JSON file holds the same names as the flags, and flags after it stand above it. Without a model or tokenizer
to start from, new ones are made. An interrupted run goes on from the last checkpoint in output_dir.
"""

import sys
from collections.abc import Sequence

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its evaluate.py would hide the package of that name

from hf_rnnattn.command_line import fail
from hf_rnnattn.training import prepare_training
from hf_rnnattn.training_arguments import parse_arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 with one line on standard error if the input cannot be used."""
    try:
        run = prepare_training(parse_arguments(sys.argv[1:] if argv is None else argv))
    except (ValueError, OSError, ModuleNotFoundError) as error:
        return fail("train_seq2seq.py", error)
    run.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
