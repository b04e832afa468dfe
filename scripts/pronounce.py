"""Pronounces words with a checkpoint, and draws what it read for each phone of the first word, if it has attention.

python scripts/pronounce.py output/quickstart-g2p hello transformer
"""

import argparse
from pathlib import Path

from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

import hf_rnnattn  # noqa: F401  (registers the family, and gives the pipeline its old name back)
from hf_rnnattn.visualize import plot_alignment


def main() -> None:
    """Prints one line a word and, for models with attention, the path of the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="folder of the checkpoint")
    parser.add_argument("words", nargs="+", help="words to pronounce")
    arguments = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(arguments.checkpoint)
    model = AutoModelForSeq2SeqLM.from_pretrained(arguments.checkpoint)
    pronounce = pipeline("text2text-generation", model=model, tokenizer=tokenizer, num_beams=4)

    words = [word.lower() for word in arguments.words]
    attends = any(layer.reads_encoder for layer in model.get_decoder().layers)
    answers = pronounce(words, return_alignments=attends)
    print()
    for word, answer in zip(words, answers, strict=True):
        print(f"  {word:<20} {answer['generated_text']}")
    if not attends:
        print("\nThe model has no attention: there is no alignment to draw.")
        return
    picture = arguments.checkpoint / "alignment.png"
    plot_alignment(answers[0]["alignments"], path=picture, title=f"What was read for each phone of “{words[0]}”")
    print(f"\nAlignment of {words[0]!r}: {picture}")


if __name__ == "__main__":
    main()
