"""The converted model of g2p-en: whether it answers as the package, and how often it is right.

python benchmarks/g2p_en_agreement.py g2p_en/checkpoint20.npz

The package's answers are recorded in tests/fixtures/g2p_en, whose README says how. Error rates are those of the test
words of ``hf_rnnattn.pronunciation.load_cmudict``, against the best reference, without stress, which those references
lack. The package's authors trained on CMUdict, so these words are not held out for this model.
"""

import argparse
import sys
import tempfile
from typing import Any

from record import RESULTS, ROOT, write

from hf_rnnattn.convert.g2p_en import convert_g2p_en
from hf_rnnattn.evaluation import score_texts
from hf_rnnattn.generating import TextGenerator, load_checkpoint
from hf_rnnattn.pronunciation import load_cmudict

FOLDER = ROOT / "tests" / "fixtures" / "g2p_en"
METRICS = ("g2p_word_error_rate", "phoneme_error_rate")
WITHOUT_STRESS = str.maketrans("", "", "012")
BATCH = 128


def pronounce(generator: TextGenerator, words: list[str]) -> list[str]:
    """The phones of each word."""
    batches = [words[at : at + BATCH] for at in range(0, len(words), BATCH)]
    return [answer for batch in batches for (answer,) in generator(batch)]


def agreement(generator: TextGenerator) -> dict[str, Any]:
    """How many answers are the package's."""
    words, recorded = (
        (FOLDER / name).read_text(encoding="utf-8").splitlines() for name in ("words.txt", "phones.txt")
    )
    answers = pronounce(generator, words)
    identical = sum(ours == theirs for ours, theirs in zip(answers, recorded, strict=True))
    return {"words": len(words), "identical": identical, "share": identical / len(words)}


def errors(generator: TextGenerator) -> dict[str, Any]:
    """Error rates on the test words, in percent."""
    data = load_cmudict()["test"]
    answers = [answer.translate(WITHOUT_STRESS) for answer in pronounce(generator, data["source"][:])]
    return {"words": len(answers), **score_texts(METRICS, answers, data["references"][:])}


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="checkpoint20.npz of the package")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        convert_g2p_en(arguments.checkpoint, output=folder)
        generator = TextGenerator(*load_checkpoint(folder))
    results = {"agreement": agreement(generator), "cmudict": errors(generator)}
    write(RESULTS / "g2p_en_agreement.json", results)
    print(results)


if __name__ == "__main__":
    sys.exit(main())
