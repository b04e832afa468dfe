"""Print the tests that the run with the newest transformers leaves out, one a line; their reasons go to stderr.

They stand in tests/newest_exceptions.txt, if there are any: a date, the test and the reason on each line,

    2026-12-24 tests/test_hub.py::test_the_trainer_pushes transformers 5.25 does not …

README names them, and after a month the run fails until they are mended or looked at again.
"""

import datetime
import sys
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "tests" / "newest_exceptions.txt"
LONGEST = datetime.timedelta(days=30)


def exceptions(file: Path) -> list[tuple[datetime.date, str, str]]:
    """Return date, test and reason of every line of ``file``; nothing if there is no such file.

    Raises:
        ValueError: a line has no date, no test or no reason.
    """
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        parts = line.split(maxsplit=2)
        if len(parts) < 3 or not parts[1].startswith("tests/"):
            raise ValueError(f"{file.name}: expected DATE tests/FILE::TEST REASON, got {line!r}")
        found.append((datetime.date.fromisoformat(parts[0]), parts[1], parts[2]))
    return found


def main(file: Path = FILE, today: datetime.date | None = None) -> int:
    """Print the tests; return 1 if one of them has been left out for longer than a month."""
    today = today or datetime.date.today()
    expired = 0
    for date, test, reason in exceptions(file):
        print(f"LEFT OUT since {date}: {test}: {reason}", file=sys.stderr)
        if today - date > LONGEST:
            print(f"error: that is more than {LONGEST.days} days", file=sys.stderr)
            expired = 1
        print(test)
    return expired


if __name__ == "__main__":
    sys.exit(main())
