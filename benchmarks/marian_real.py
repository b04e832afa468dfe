"""Models that Marian trained on real text: how their conversions agree with Marian, and how fast both translate.

    python benchmarks/marian_real.py FOLDER... --pairs pairs

Each FOLDER is what benchmarks/marian_training/train.sh wrote (model.npz, its options, train.log), and names the model.
Needs the PyPI package pymarian, which is Marian with its training. Both decode on one core in float32, a sentence at a
time for the comparison. A translation's score is the mean log-probability of its tokens, the end included: Marian's
own, and that of the converted model for the same tokens.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import marian_decoder
import sacrebleu
import torch
import yaml
from marian_agreement import score
from record import RESULTS, ROOT, write
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

OUTPUT = RESULTS / "marian_real.json"
BATCHES = (1, 16)
# transformers stops a beam search early where it expects nothing better; Marian waits for every beam to end
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"num_beams": 1},
    "4 beams": {"num_beams": 4},
    "4 beams, none stopped early": {"num_beams": 4, "early_stopping": "never"},
}
RECIPES = ROOT / "benchmarks" / "marian_training"


class Case:
    """A model of Marian and its conversion."""

    def __init__(self, folder: Path, vocab: Path, converted: Path) -> None:
        self.model_file, self.vocab = folder / "model.npz", vocab
        command = [sys.executable, ROOT / "scripts" / "convert_checkpoint.py", "--from", "marian", self.model_file]
        subprocess.run([*command, "--vocab", vocab, "--output", converted], check=True, stdout=subprocess.DEVNULL)
        self.model, self.tokenizer = (cls.from_pretrained(converted) for cls in (AutoModelForSeq2SeqLM, AutoTokenizer))

    def generate(self, sources: list[list[int]], **search: Any) -> list[list[int]]:
        """The tokens of each translation, with their end and without padding."""
        padded = self.tokenizer.pad({"input_ids": sources}, return_tensors="pt")
        pad = self.tokenizer.pad_token_id
        outputs = self.model.generate(**padded, **search)[:, 1:].tolist()
        return [[token for token in output if token != pad] for output in outputs]

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def translate(self, texts: list[str], batch: int) -> list[str]:
        """Greedy translations; sources of one length go together."""
        sources = self.tokenizer(texts).input_ids
        order = sorted(range(len(texts)), key=lambda i: len(sources[i]))
        found = {}
        for first in range(0, len(order), batch):
            chosen = order[first : first + batch]
            outputs = self.generate([sources[i] for i in chosen], num_beams=1)
            found |= {i: self.decode(output) for i, output in zip(chosen, outputs, strict=True)}
        return [found[i] for i in range(len(texts))]


def agreement(case: Case, sentences: Path, search: dict[str, Any]) -> dict[str, Any]:
    """How many texts are the same, what the others score, and how far the two ways to score are apart."""
    beams = search["num_beams"]
    marian = marian_decoder.translate(case.model_file, case.vocab, sentences, beams=beams)
    scored = marian_decoder.translate_scored(case.model_file, case.vocab, sentences, beams=beams)
    texts = sentences.read_text(encoding="utf-8").splitlines()
    differences, apart = [], []
    for i, (source, text) in enumerate(zip(case.tokenizer(texts).input_ids, marian, strict=True)):
        output = case.generate([source], **search)[0]
        # Marian ends a translation at its longest without the end
        ended = len(scored[i].pieces) < 2 * len(source)
        theirs = case.tokenizer.convert_tokens_to_ids(scored[i].pieces) + [case.tokenizer.eos_token_id] * ended
        our_score_of_theirs = score(case.model, source, theirs, None)
        apart.append(abs(our_score_of_theirs - scored[i].score))
        if (ours := case.decode(output)) != text:
            scores = {"ours": score(case.model, source, output, None), "marian": our_score_of_theirs}
            differences.append({"source": texts[i], "ours": ours, "marian": text, "scores": scores})
    found = [difference["scores"] for difference in differences]
    return {
        "texts": len(marian),
        "distinct": len(set(marian)),
        "identical": len(marian) - len(differences),
        "share": 1 - len(differences) / len(marian),
        "ours_scores_higher": sum(scores["ours"] >= scores["marian"] for scores in found),
        "marian_scores_higher": sum(scores["ours"] < scores["marian"] for scores in found),
        "differences": differences,
        "largest_difference_of_scores": max(apart),
    }


def speed(case: Case, texts: list[str], batch: int, repeats: int) -> dict[str, Any]:
    """CPU seconds from text to text, sorted by length, on one core; the least of some runs of each."""
    seconds: dict[str, list[float]] = {"ours": [], "marian": []}
    for _ in range(repeats):
        seconds["marian"].append(marian_decoder.seconds(case.model_file, case.vocab, texts, batch=batch))
        start = time.process_time()
        case.translate(texts, batch)
        seconds["ours"].append(time.process_time() - start)
    best = {name: round(min(times), 2) for name, times in seconds.items()}
    return {"batch": batch, "cpu_seconds": best, "times_as_long_as_marian": round(best["ours"] / best["marian"], 2)}


def settings(folder: Path) -> dict[str, Any]:
    """What the recipe says, as Marian has written it down, and how far the training came."""
    written = {name: _read_yaml(folder / f"model.npz.{name}") for name in ("yml", "progress.yml")}
    recipe = [*_read_yaml(RECIPES / f"{folder.name}.yml"), *_read_yaml(RECIPES / "training.yml")]
    return {
        "training": {key: written["yml"][key] for key in recipe},
        "updates": written["progress.yml"]["batches"],
        "target_tokens": written["progress.yml"]["labels-total"],
    }


def _read_yaml(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def measure(folder: Path, vocab: Path, sentences: Path, references: list[str], repeats: int) -> dict[str, Any]:
    """All measurements of one model."""
    with tempfile.TemporaryDirectory() as converted:
        case = Case(folder, vocab, Path(converted))
        texts = sentences.read_text(encoding="utf-8").splitlines()
        marian = marian_decoder.translate(case.model_file, vocab, sentences, beams=1)
        return {
            **settings(folder),
            "parameters": case.model.num_parameters(),
            "marian": marian_decoder.version(),
            "bleu_of_marian_greedy": round(sacrebleu.corpus_bleu(marian, [references]).score, 2),
            "agreement": {name: agreement(case, sentences, search) for name, search in SEARCHES.items()},
            "speed": [speed(case, texts, batch, repeats) for batch in BATCHES],
        }


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="What train.sh wrote.")
    parser.add_argument("--pairs", type=Path, required=True, help="Folder of vocab.spm, test.en and test.it.")
    parser.add_argument("--count", type=int, default=500, help="Take only the first so many.")
    parser.add_argument("--repeats", type=int, default=3, help="Runs of which that with the least time counts.")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="JSON to write.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sources, references = (
        (arguments.pairs / f"test.{language}").read_text(encoding="utf-8").splitlines()[: arguments.count]
        for language in ("en", "it")
    )
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        sentences = Path(folder) / "sentences.txt"
        sentences.write_text("".join(f"{source}\n" for source in sources), encoding="utf-8")
        for case in arguments.folders:
            results[case.name] = measure(case, arguments.pairs / "vocab.spm", sentences, references, arguments.repeats)
    write(arguments.output, results)


if __name__ == "__main__":
    main()
