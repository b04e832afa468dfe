"""How a converted student of Marian agrees with Marian: texts, and the scores of those that differ.

python benchmarks/marian_agreement.py

Texts of Marian are recorded in tests/fixtures/marian. Scores are mean log-probabilities of tokens, the end included,
which is what beam search with a length penalty of 1 maximises; both are computed by the converted model.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, ROOT, write
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from hf_rnnattn.convert.marian_folder import convert_marian
from hf_rnnattn.convert.marian_shortlist import read_shortlist
from hf_rnnattn.model.shortlist_rnnattn import Candidates

FOLDER = ROOT / "tests" / "fixtures" / "marian"
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"recorded": "marian.txt", "num_beams": 1},
    "4 beams": {"recorded": "marian.beam4.txt", "num_beams": 4},
    "greedy, shortlist": {"recorded": "marian.shortlist.txt", "num_beams": 1, "shortlist": True},
    "4 beams, shortlist": {"recorded": "marian.shortlist.beam4.txt", "num_beams": 4, "shortlist": True},
}


def score(model: Any, source: Sequence[int], target: Sequence[int], shortlist: Any) -> float:
    """The mean log-probability of a target's tokens."""
    candidates = None
    if shortlist is not None:
        candidates = Candidates(shortlist, None)
        candidates.fill(torch.tensor([source]), model.lm_head, model.config.vocab_size, shared=True)
    start = model.config.decoder_start_token_id
    with torch.no_grad():
        ids = torch.tensor([[start, *target[:-1]]])
        logits = model(torch.tensor([source]), decoder_input_ids=ids, decoder_candidates=candidates).logits[0]
    return float(logits.log_softmax(-1).gather(1, torch.tensor(target)[:, None]).mean())


def compare(model: Any, tokenizer: Any, recorded: str, shortlist: bool = False, **search: Any) -> dict[str, Any]:
    """How many texts are Marian's, and what the others score."""
    sources = tokenizer((FOLDER / "sentences.txt").read_text(encoding="utf-8").splitlines()).input_ids
    theirs = (FOLDER / recorded).read_text(encoding="utf-8").splitlines()
    lists = read_shortlist(FOLDER / "lex.50.50.s2t.bin") if shortlist else None
    identical, differences = 0, []
    for source, text in zip(sources, theirs, strict=True):
        output = model.generate(torch.tensor([source]), shortlist=lists, **search)[0, 1:].tolist()
        if tokenizer.decode(output, skip_special_tokens=True) == text:
            identical += 1
        else:
            targets = {"ours": output, "marian": tokenizer(text).input_ids[: max(len(output), 2 * len(source))]}
            differences.append({name: score(model, source, target, lists) for name, target in targets.items()})
    return {"texts": len(theirs), "identical": identical, "share": identical / len(theirs), "scores": differences}


def main() -> None:
    """Measures and writes the results."""
    with tempfile.TemporaryDirectory() as folder:
        convert_marian(FOLDER / "model.intgemm.alphas.bin", FOLDER / "vocab.spm", output=Path(folder))
        model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        results = {name: compare(model, tokenizer, **search) for name, search in SEARCHES.items()}
    write(RESULTS / "marian_agreement.json", results)
    print(results)


if __name__ == "__main__":
    sys.exit(main())
