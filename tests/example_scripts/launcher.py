"""Runs an example script with the local metrics: ``python launcher.py [--without_package] SCRIPT ARGUMENTS``.

Three things differ from ``python -m hf_rnnattn SCRIPT ARGUMENTS``: ``evaluate.load`` gives the metrics of
``local_metrics``; NLTK splits sentences by its rules alone, without the English data that it would download; and with
``--without_package`` the package cannot be imported, as where it is not installed. The script's file is untouched.
"""

import runpy
import sys
from pathlib import Path

import evaluate
import nltk
from nltk.tokenize.punkt import PunktSentenceTokenizer

from example_scripts.local_metrics import load


class Absent:
    """A finder that knows that there is no hf_rnnattn."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raises what an import of an absent package raises."""
        if name.split(".")[0] == "hf_rnnattn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


if __name__ == "__main__":
    evaluate.load = load
    nltk.sent_tokenize = PunktSentenceTokenizer().tokenize
    arguments = sys.argv[1:]
    if arguments[0] == "--without_package":
        sys.meta_path.insert(0, Absent())
        sys.argv[:] = arguments[1:]
        sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        from hf_rnnattn.__main__ import main

        sys.exit(main(arguments))
