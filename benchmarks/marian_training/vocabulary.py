"""The SentencePiece vocabulary of both languages, with the flags that Marian's students are trained with.

python benchmarks/marian_training/vocabulary.py pairs/train.en pairs/train.it --output pairs/vocab.spm --pieces 2000
"""

import argparse
import io
from pathlib import Path

import sentencepiece


def main() -> None:
    """Trains it and writes the model alone, without the paths of its texts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, nargs="+", help="Texts, one a line.")
    parser.add_argument("--output", type=Path, required=True, help="The .spm file.")
    parser.add_argument("--pieces", type=int, default=2000, help="How many.")
    arguments = parser.parse_args()
    lines = (line for path in arguments.texts for line in path.read_text(encoding="utf-8").splitlines())
    ids = {"bos_id": -1, "eos_id": 0, "unk_id": 1, "pad_id": -1}
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=model, vocab_size=arguments.pieces, num_threads=1, **ids
    )
    arguments.output.write_bytes(model.getvalue())


if __name__ == "__main__":
    main()
