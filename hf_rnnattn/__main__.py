"""Runs a Python script in which the Auto classes know the family, and all else is as if Python ran it.

    python -m hf_rnnattn run_translation.py --model_name_or_path output/mine --do_eval …
    accelerate launch -m hf_rnnattn run_translation.py …

So scripts that know nothing of this package, transformers' examples for one, work unmodified.

    python -m hf_rnnattn presets

prints the named architectures of the literature.
"""

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from .command_line import fail


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script ``argv[0]`` with the arguments after it, or prints the presets.

    Returns the exit status: 0, or 2 with one line on standard error if there is no such script. What the script
    raises, ``SystemExit`` too, passes through.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        if not arguments:
            raise ValueError("give a Python script and its arguments: python -m hf_rnnattn script.py …")
        if arguments == ["presets"]:
            from .preset_table import preset_table  # which imports torch: a script may wish to do so later, or never

            print(preset_table())
            return 0
        script = Path(arguments[0])
        if not script.is_file():
            raise ValueError(f"there is no script {arguments[0]!r}")
    except ValueError as error:
        return fail("python -m hf_rnnattn", error)
    sys.argv[:] = arguments
    sys.path[0] = str(script.resolve().parent)  # in place of the folder that -m puts there: scripts import neighbours
    runpy.run_path(str(script), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
