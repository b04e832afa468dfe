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
# What that version itself cannot do: record single hidden states by index, and keep all steps with a static cache in one
# compiled graph (it makes several). What they compute is the same, and held by the other tests.
# Cells, scans and scores are plain torch: no version of transformers can change them.
exec "$PYTHON" -m pytest "$@" \
  --ignore-glob='tests/model/test_mixer*.py' --ignore-glob='tests/model/test_scan.py' \
  --ignore-glob='tests/model/test_stepping.py' --ignore-glob='tests/model/test_attention.py' \
  --ignore-glob='tests/model/test_norms.py' --ignore-glob='tests/model/test_plain_linear.py' \
  --ignore-glob='tests/model/test_exported_loop.py' \
  --deselect tests/model/test_modeling_rnnattn.py::test_hidden_states_are_chosen_by_index_on_each_side \
  --deselect tests/model/test_static_cache.py::test_all_steps_with_a_static_cache_are_one_graph \
  tests/model tests/test_saving.py tests/test_promise.py tests/test_alignment.py
