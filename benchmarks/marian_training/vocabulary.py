"""The SentencePiece vocabulary of both languages, with the flags that Marian's students are trained with.

python benchmarks/marian_training/vocabulary.py pairs/train.en pairs/train.it --output pairs/vocab.spm --pieces 2000
"""

import argparse
import tempfile
from pathlib import Path

import sentencepiece


def main() -> None:
    """Trains it and writes the model alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", help="Texts, one a line.")
    parser.add_argument("--output", type=Path, required=True, help="The .spm file.")
    parser.add_argument("--pieces", type=int, default=2000, help="How many.")
    arguments = parser.parse_args()
    ids = {"bos_id": -1, "eos_id": 0, "unk_id": 1, "pad_id": -1}
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "vocab"
        sentencepiece.SentencePieceTrainer.train(
            input=arguments.texts, model_prefix=str(prefix), vocab_size=arguments.pieces, num_threads=1, **ids
        )
        arguments.output.write_bytes(prefix.with_suffix(".model").read_bytes())


if __name__ == "__main__":
    main()
