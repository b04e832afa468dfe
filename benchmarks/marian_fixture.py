"""Records what Marian translates with a student that it trained: ``marian_fixture.py FOLDER --pairs pairs``.

FOLDER and pairs are what benchmarks/marian_training writes. Needs pymarian (``pip install pymarian``). The student is
committed with 8-bit weights, and Marian decodes with those weights in float32: 8-bit arithmetic depends on the CPU.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import marian_decoder
from record import ROOT

from hf_rnnattn.convert.marian import model_from_marian
from hf_rnnattn.convert.marian_checkpoint import read_marian
from hf_rnnattn.convert.marian_export import export_marian

OUTPUT = ROOT / "tests" / "fixtures" / "marian_trained"
BEAMS = {"marian.txt": 1, "marian.beam4.txt": 4}


def main() -> None:
    """Writes the model, its vocabulary, the sentences and Marian's texts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="What train.sh wrote.")
    parser.add_argument("--pairs", type=Path, required=True, help="Folder of vocab.spm and test.en.")
    parser.add_argument("--count", type=int, default=50, help="Take only the first so many sentences.")
    arguments = parser.parse_args()
    OUTPUT.mkdir(exist_ok=True)
    model, vocab, sentences = (OUTPUT / name for name in ("model.intgemm8.bin", "vocab.spm", "sentences.txt"))
    export_marian(model_from_marian(read_marian(arguments.folder / "model.npz")), model)
    shutil.copy(arguments.pairs / "vocab.spm", vocab)
    texts = (arguments.pairs / "test.en").read_text(encoding="utf-8").splitlines()[: arguments.count]
    sentences.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        rounded = Path(folder) / "model.npz"
        export_marian(model_from_marian(read_marian(model)), rounded)
        for name, beams in BEAMS.items():
            recorded = marian_decoder.translate(rounded, vocab, sentences, beams=beams)
            (OUTPUT / name).write_text("".join(f"{text}\n" for text in recorded), encoding="utf-8")
        scores = [scored.score for scored in marian_decoder.translate_scored(rounded, vocab, sentences, beams=4)]
        (OUTPUT / "marian.beam4.scores.txt").write_text("".join(f"{score}\n" for score in scores), encoding="utf-8")


if __name__ == "__main__":
    main()
