# Sourced by the other scripts: finds a Python, and prepares the virtual environment `.venv` in the project folder.
#
#   prepare EXTRAS          installs the project with these extras; afterwards $PYTHON is the interpreter of the
#                           environment. A second call with the same extras installs nothing.
#   prepare EXTRAS newest   the same in an environment of its own, `.venv/newest`, with the newest versions of today.
#
# PYTHON in the environment chooses the interpreter to start from; otherwise the first of python3, python, python3.13,
# python3.12 and python3.11 that is new enough.

PROJECT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

fail() {
  echo "error: $*" >&2
  exit 1
}

is_new_enough() {
  command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    is_new_enough "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or newer"
    echo "$PYTHON"
    return
  fi
  local candidate
  for candidate in python3 python python3.13 python3.12 python3.11; do
    if is_new_enough "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fail "Python 3.11 or newer is needed and none was found; install one, or name it: PYTHON=/path/to/python bash $0"
}

prepare() {
  local base
  base="$(find_python)" || exit 1
  PYTHON="$("$base" "$PROJECT/scripts/environment.py" "$@")" || exit 1
}
