"""What the scripts share: the command for the record, arguments of one dataclass, errors in one line."""

import shlex
import sys
from collections.abc import Sequence
from typing import Any

from transformers import HfArgumentParser

USAGE_ERROR = 2  # argparse's exit status for a command line that cannot be used


def command_line(script: str, arguments: Sequence[str]) -> str:
    """The command that repeats a run, quoted for a shell."""
    return shlex.join(["python", script, *arguments])


def parse_dataclasses(types: Any, argv: Sequence[str] | None, description: str | None = None) -> Any:
    """Parse a command line into a tuple of dataclass instances.

    Raises:
        SystemExit: argparse's, for unknown flags and ``--help``.
    """
    parser = HfArgumentParser(types, allow_abbrev=False, description=description)
    flags = sys.argv[1:] if argv is None else list(argv)
    parser.parse_args(flags)  # unknown flags become argparse's short message rather than an exception
    return parser.parse_args_into_dataclasses(flags, look_for_args_file=False)


def fail(script: str, error: Exception) -> int:
    """Say in one line on standard error what was wrong with the input; returns the exit status."""
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"{script}: error: {text}", file=sys.stderr)
    return USAGE_ERROR
