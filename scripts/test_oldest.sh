#!/usr/bin/env bash
# Runs the tests of the models with the oldest transformers that pyproject.toml allows, beside the environment that
# scripts/test.sh made; arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare test
cd "$PROJECT"
oldest="$(sed -n 's/.*"transformers>=\([0-9.]*\).*/\1/p' pyproject.toml)"
[ -n "$oldest" ] || fail "pyproject.toml names no oldest transformers"
folder="$PROJECT/.venv/transformers-$oldest"
if [ ! -f "$folder/complete" ]; then
  # into a folder of its own, which goes before the environment's newer one on the path
  "$PYTHON" -m pip install -qq --target "$folder" --no-warn-conflicts "transformers==$oldest.*"
  touch "$folder/complete"
fi
export PYTHONPATH="$folder"
"$PYTHON" -c "import transformers; print('transformers', transformers.__version__)"
exec "$PYTHON" -m pytest "$@" tests/model tests/test_saving.py tests/test_promise.py tests/test_alignment.py
