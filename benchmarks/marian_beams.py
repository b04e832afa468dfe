"""How many translations with 4 beams are Marian's own if the beam narrows as Marian's does.

python benchmarks/marian_beams.py output/marian/student output/marian/s2s --pairs output/pairs

The models and pairs are those of benchmarks/marian_real.py, which measures transformers' own beam search. Needs
pymarian.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import marian_decoder
import torch
from marian_real import Case
from record import RESULTS, write

from hf_rnnattn.narrowing_beams import narrowing_beam_search

BEAMS, BATCH = 4, 16


def compare(folder: Path, vocab: Path, sentences: Path) -> dict[str, Any]:
    """How many texts are the same, and those that are not."""
    texts = sentences.read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory() as converted:
        case = Case(folder, vocab, Path(converted))
        theirs = marian_decoder.translate(case.model_file, vocab, sentences, beams=BEAMS)
        search = {"num_beams": BEAMS, "custom_generate": narrowing_beam_search}
        ours: list[str] = []
        for first in range(0, len(texts), BATCH):
            sources = case.tokenizer(texts[first : first + BATCH]).input_ids
            ours += [case.decode(output) for output in case.generate(sources, **search)]
    differences = [
        {"source": source, "ours": mine, "marian": other}
        for source, mine, other in zip(texts, ours, theirs, strict=True)
        if mine != other
    ]
    return {"texts": len(texts), "identical": len(texts) - len(differences), "differences": differences}


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="What train.sh wrote.")
    parser.add_argument("--pairs", type=Path, required=True, help="Folder of vocab.spm and test.en.")
    parser.add_argument("--count", type=int, default=500, help="Take only the first so many sentences.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    texts = (arguments.pairs / "test.en").read_text(encoding="utf-8").splitlines()[: arguments.count]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        sentences = Path(folder) / "sentences.txt"
        sentences.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        for case in arguments.folders:
            results[case.name] = compare(case, arguments.pairs / "vocab.spm", sentences)
    write(RESULTS / "marian_beams.json", results)
    print({name: (result["identical"], result["texts"]) for name, result in results.items()})


if __name__ == "__main__":
    main()
