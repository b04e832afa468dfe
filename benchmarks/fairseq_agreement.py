"""How converted models of fairseq agree with fairseq: shares of identical answers, greedy and with 5 beams.

python benchmarks/fairseq_agreement.py

fairseq's answers are recorded in tests/fixtures/fairseq, whose README says how, and so are the scores of the greedy
ones: mean logarithms, to base 2, of the probability of the words and the end.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from record import RESULTS, ROOT, write
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

sys.path.append(str(ROOT / "tests"))  # where the checkpoints are put together
from fairseq_models import NAMES, dictionaries, lines, mean_scores, write_checkpoint
from hf_rnnattn.convert.fairseq import convert_fairseq

SEARCHES: dict[str, dict[str, Any]] = {"greedy": {"num_beams": 1}, "beam5": {}}


def agreement(model: Any, tokenizer: Any, recorded: list[str], **search: Any) -> dict[str, Any]:
    """How many answers are fairseq's."""
    batch = tokenizer(lines("inputs.txt"), padding=True, return_tensors="pt")
    answers = tokenizer.batch_decode(model.generate(**batch, **search), skip_special_tokens=True)
    identical = sum(ours == theirs for ours, theirs in zip(answers, recorded, strict=True))
    return {
        "texts": len(recorded),
        "different_texts": len(set(recorded)),
        "identical": identical,
        "share": identical / len(recorded),
    }


def measure(name: str, place: Path) -> dict[str, Any]:
    """Converts one of the models and compares it."""
    folder = place / name
    convert_fairseq(write_checkpoint(name, place / f"{name}.pt"), *dictionaries(name), output=folder)
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    found = {
        search: agreement(model, tokenizer, lines(f"{name}/{search}.txt"), **options)
        for search, options in SEARCHES.items()
    }
    ours = mean_scores(model, tokenizer, lines("inputs.txt"), lines(f"{name}/greedy.txt"))
    theirs = map(float, lines(f"{name}/scores.txt"))
    found["greedy"]["largest_error_of_a_score"] = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    return found


def main() -> None:
    """Measures and writes the results."""
    with tempfile.TemporaryDirectory() as place:
        results = {name: measure(name, Path(place)) for name in NAMES}
    write(RESULTS / "fairseq_agreement.json", results)
    print(results)


if __name__ == "__main__":
    sys.exit(main())
