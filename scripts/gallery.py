"""Draws the pictures of docs/gallery.md: what small models that were trained for it attend to, remember and read.

    python scripts/gallery.py                  # all of them
    python scripts/gallery.py bahdanau luong   # two of them, by their names, those of the files

Most models take a minute or two, the listener twenty; they are kept in output/gallery, and not trained again
while they are there.
"""

import argparse
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def main() -> None:
    sys.path.insert(0, str(PROJECT / "benchmarks"))  # the tasks stand there
    from pictures.all import PICTURES, draw

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(PICTURES)} (default: all)")
    parser.add_argument("--checkpoints", type=Path, default=Path("output/gallery"), help="where models are kept")
    parser.add_argument("--pictures", type=Path, default=PROJECT / "docs" / "images" / "gallery")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(PICTURES)
    if unknown:
        parser.error(f"there is no picture {', '.join(sorted(unknown))}; choose from {', '.join(PICTURES)}")
    for name in arguments.names or PICTURES:
        print(draw(name, arguments.checkpoints, arguments.pictures), flush=True)


if __name__ == "__main__":
    main()
