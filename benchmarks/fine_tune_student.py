"""A student that Marian trained, fine-tuned by transformers' trainer on a domain new to it, and given back to Marian.

    python benchmarks/fine_tune_student.py FOLDER --pairs pairs

FOLDER is what benchmarks/marian_training/train.sh wrote, and pairs what debian_pairs.py and vocabulary.py wrote there.
BLEU is that of greedy translations of held-out texts, before and after, in the domain and outside it. The fine-tuned
model is then written as a file of Marian, and Marian's own decoder (the PyPI package pymarian) translates with it.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import marian_decoder
import sacrebleu
import torch
from datasets import Dataset
from marian_real import Case, settings
from record import RESULTS, write
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

from hf_rnnattn.convert.marian_export import export_marian

TESTS = {"domain": "domain.test", "general": "test"}
TRAINING: dict[str, Any] = {"learning_rate": 5e-4, "per_device_train_batch_size": 32, "lr_scheduler_type": "linear"}


class Pairs:
    """The texts of a folder."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count

    def side(self, part: str, language: str) -> list[str]:
        """The texts of a part in a language; of tests the first so many."""
        texts = (self.folder / f"{part}.{language}").read_text(encoding="utf-8").splitlines()
        return texts[: self.count] if part in TESTS.values() else texts


def bleu(case: Case, pairs: Pairs) -> dict[str, float]:
    """BLEU of greedy translations of each test."""
    scores = {}
    for name, part in TESTS.items():
        texts = case.translate(pairs.side(part, "en"), batch=16)
        scores[name] = round(sacrebleu.corpus_bleu(texts, [pairs.side(part, "it")]).score, 2)
    return scores


def fine_tune(case: Case, pairs: Pairs, steps: int) -> float:
    """Trains on the domain; returns the mean loss."""
    encoded = case.tokenizer(pairs.side("domain.train", "en"), text_target=pairs.side("domain.train", "it"))
    with tempfile.TemporaryDirectory() as folder:
        arguments = Seq2SeqTrainingArguments(
            folder, max_steps=steps, save_strategy="no", report_to="none", use_cpu=True, disable_tqdm=True, **TRAINING
        )
        trainer = Seq2SeqTrainer(
            case.model,
            arguments,
            data_collator=DataCollatorForSeq2Seq(case.tokenizer, model=case.model),
            train_dataset=Dataset.from_dict(dict(encoded)),
        )
        return float(trainer.train().training_loss)


def given_back(case: Case, texts: list[str]) -> dict[str, int]:
    """How many texts Marian translates with the exported file as the model does."""
    with tempfile.TemporaryDirectory() as folder:
        exported, sentences = Path(folder) / "model.npz", Path(folder) / "sentences.txt"
        export_marian(case.model, exported)
        sentences.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        marian = marian_decoder.translate(exported, case.vocab, sentences, beams=1)
    ours = case.translate(texts, batch=1)
    return {"texts": len(texts), "identical": sum(a == b for a, b in zip(ours, marian, strict=True))}


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="What train.sh wrote.")
    parser.add_argument("--pairs", type=Path, required=True, help="Folder of vocab.spm and the texts.")
    parser.add_argument("--steps", type=int, default=400, help="Updates.")
    parser.add_argument("--count", type=int, default=500, help="Take only the first so many of each test.")
    parser.add_argument("--output", type=Path, default=RESULTS / "fine_tune_student.json", help="JSON to write.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pairs = Pairs(arguments.pairs, arguments.count)
    with tempfile.TemporaryDirectory() as converted:
        case = Case(arguments.folder, arguments.pairs / "vocab.spm", Path(converted))
    before = bleu(case, pairs)
    loss = fine_tune(case, pairs, arguments.steps)
    case.model.eval()
    results = {
        "student": settings(arguments.folder),
        "fine_tuning": {**TRAINING, "steps": arguments.steps, "pairs": len(pairs.side("domain.train", "en"))},
        "training_loss": round(loss, 4),
        "bleu": {"before": before, "after": bleu(case, pairs)},
        "marian": marian_decoder.version(),
        "given_back": given_back(case, pairs.side(TESTS["domain"], "en")),
    }
    write(arguments.output, results)


if __name__ == "__main__":
    main()
