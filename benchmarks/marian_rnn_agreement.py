"""How converted recurrent models of Marian agree with Marian: texts, and the scores of those that differ.

python benchmarks/marian_rnn_agreement.py

Texts of Marian are recorded in tests/fixtures/marian_rnn. Scores are mean log-probabilities of tokens, the end
included, which is what beam search with a length penalty of 1 maximises; both are computed by the converted model.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from marian_agreement import score
from record import RESULTS, ROOT, write
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from hf_rnnattn.convert.marian_folder import convert_marian

FOLDER = ROOT / "tests" / "fixtures" / "marian_rnn"
SEARCHES = {"greedy": ("marian.txt", 1), "4 beams": ("marian.beam4.txt", 4)}


def compare(model: Any, tokenizer: Any, recorded: Path, beams: int) -> dict[str, Any]:
    """How many texts are Marian's, and what the others score; Marian's without its end where it was cut off."""
    sources = tokenizer((FOLDER / "sentences.txt").read_text(encoding="utf-8").splitlines()).input_ids
    theirs = recorded.read_text(encoding="utf-8").splitlines()
    identical, differences = 0, []
    for source, text in zip(sources, theirs, strict=True):
        output = model.generate(torch.tensor([source]), num_beams=beams)[0, 1:].tolist()
        if tokenizer.decode(output, skip_special_tokens=True) == text:
            identical += 1
        else:
            targets = {"ours": output, "marian": tokenizer(text_target=text).input_ids[: 2 * len(source)]}
            differences.append({name: score(model, source, target, None) for name, target in targets.items()})
    worse = sum(scores["ours"] < scores["marian"] for scores in differences)
    return {"texts": len(theirs), "identical": identical, "worse": worse, "scores": differences}


def main() -> None:
    """Measures and writes the results."""
    results: dict[str, Any] = {}
    for folder in sorted(path for path in FOLDER.iterdir() if path.is_dir()):
        with tempfile.TemporaryDirectory() as made:
            vocabulary = FOLDER / "vocab.spm"
            convert_marian(folder / "model.npz", vocabulary, vocabulary, output=made)
            model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(made), AutoTokenizer.from_pretrained(made)
            results[folder.name] = {
                name: compare(model, tokenizer, folder / file, beams) for name, (file, beams) in SEARCHES.items()
            }
    write(RESULTS / "marian_rnn_agreement.json", results)
    print(results)


if __name__ == "__main__":
    sys.exit(main())
