#!/usr/bin/env bash
# Runs the tests of contacts with the oldest transformers that pyproject.toml allows, beside the environment that
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
# What that version itself cannot do: keep all steps with a static cache in one compiled graph (it makes several). What
# they compute is the same, and held by the other tests.
exec "$PYTHON" -m pytest -m "contact and not slow" \
  --deselect tests/model/test_static_cache.py::test_all_steps_with_a_static_cache_are_one_graph "$@"
