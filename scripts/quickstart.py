"""Trains a small model of English pronunciation, measures it, and pronounces words with it.

Each step is a command of its own, so each can be used alone: training is scripts/train_seq2seq.py with
scripts/quickstart.yaml, and the checkpoint is loaded again by scripts/pronounce.py in a fresh process.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

SCRIPTS = Path(__file__).resolve().parent
PROJECT = SCRIPTS.parent
METRICS = {"g2p_word_error_rate": "word error rate", "phoneme_error_rate": "phoneme error rate"}
WORDS = ["hello", "transformer", "recurrence", "quizzically"]


def main() -> None:
    """Runs what is missing: the training only if there is no finished checkpoint."""
    arguments = parse(sys.argv[1:])
    checkpoint = PROJECT / yaml.safe_load(arguments.config.read_text(encoding="utf-8"))["output_dir"]
    results = checkpoint / "results.json"  # written last, so it is there when the training has come to its end
    if arguments.retrain or not results.exists():
        train(arguments)
    else:
        print(f"Using the model trained before, {shown(checkpoint)} (--retrain trains it again)")
    report(json.loads(results.read_text(encoding="utf-8")))
    run("pronounce.py", str(checkpoint), *arguments.words)


def parse(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("words", nargs="*", default=WORDS, help="words to pronounce")
    parser.add_argument("--retrain", action="store_true", help="train even if there is a trained model")
    parser.add_argument("--max_train_minutes", type=float, help="train for so long instead of what the config says")
    parser.add_argument("--config", type=Path, default=SCRIPTS / "quickstart.yaml", help="what to train")
    return parser.parse_args(words)


def train(arguments: argparse.Namespace) -> None:
    """Trains and measures the model."""
    flags = ["--overwrite_output_dir"] if arguments.retrain else []
    if arguments.max_train_minutes is not None:
        flags += ["--max_train_minutes", str(arguments.max_train_minutes)]
    run("train_seq2seq.py", shown(arguments.config.resolve()), *flags)  # run() starts it in the project folder


def run(script: str, *arguments: str) -> None:
    """Runs another script in a process of its own, and stops with its exit code if it fails."""
    code = subprocess.run([sys.executable, str(SCRIPTS / script), *arguments], cwd=PROJECT).returncode
    if code:
        sys.exit(code)


def report(results: dict[str, Any]) -> None:
    """Prints what the training measured on held-out words."""
    test = results["evaluation"]["test"]
    print(f"\nOn {test['examples']:,} held-out words, after {results['training']['seconds'] / 60:.1f} minutes:")
    for name, title in METRICS.items():
        print(f"  {title:<20} {test['metrics'][name]:5.1f} %")


def shown(path: Path) -> str:
    """A path as short as it can be said."""
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)


if __name__ == "__main__":
    main()
