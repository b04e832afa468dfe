"""How converted models of JoeyNMT, OpenNMT-py and eole agree with the toolkits that trained them.

python benchmarks/toolkit_agreement.py

What the toolkits write, greedily and one text at a time, and the log-probabilities of it are recorded in
tests/fixtures. Ours are computed in one batch, and compared for every text.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, ROOT, write
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

sys.path.append(str(ROOT / "tests"))  # where the toolkits' files are put together

from hf_rnnattn.convert.eole import convert_eole
from hf_rnnattn.convert.joeynmt import convert_joeynmt
from hf_rnnattn.convert.opennmt import convert_opennmt
from toolkit_models import MODELS, assembled, recorded

CONVERTERS = {"eole": convert_eole, "joeynmt": convert_joeynmt, "opennmt": convert_opennmt}


def compare(toolkit: str, name: str, folder: Path) -> dict[str, Any]:
    """How many texts are the toolkit's, and how far the log-probability of one of its texts is from the toolkit's."""
    CONVERTERS[toolkit](assembled(toolkit, name, folder / "theirs"), output=folder / "ours")
    model = AutoModelForSeq2SeqLM.from_pretrained(folder / "ours")
    tokenizer = AutoTokenizer.from_pretrained(folder / "ours")
    records = recorded(toolkit, name)
    batch = tokenizer([record.source for record in records], padding=True, return_tensors="pt")
    out = model.generate(**batch, output_logits=True, return_dict_in_generate=True)
    texts = tokenizer.batch_decode(out.sequences, skip_special_tokens=True)
    written = out.sequences[:, 1:, None]
    steps = torch.stack([logits.log_softmax(-1) for logits in out.logits], dim=1).gather(2, written)
    scores = torch.where(written == model.config.pad_token_id, 0.0, steps).sum((1, 2)).tolist()
    same = [text == record.output for text, record in zip(texts, records, strict=True)]
    errors = [abs(score - record.score) for score, record in zip(scores, records, strict=True)]
    return {
        "texts": len(records),
        "identical": sum(same),
        "share": sum(same) / len(records),
        "largest_error_of_a_log_probability": max(e for e, equal in zip(errors, same, strict=True) if equal),
        "parameters": model.num_parameters(),
    }


def main() -> None:
    """Measures and writes the results."""
    results: dict[str, dict[str, Any]] = {}
    for toolkit, name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            results.setdefault(toolkit, {})[name] = compare(toolkit, name, Path(folder))
    write(RESULTS / "toolkit_agreement.json", results)
    print(results)


if __name__ == "__main__":
    sys.exit(main())
