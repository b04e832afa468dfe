#!/usr/bin/env bash
# Everything that is measured on a GPU, and the tests that need one; JSON goes to benchmarks/results or the folder given.
#
#     bash benchmarks/gpu.sh [FOLDER]
#
# Runs with $PYTHON (default: python3), which must have torch with CUDA, transformers, accelerate and pytest. Takes about
# six minutes. Everything runs; any failure fails it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
folder="${1:-benchmarks/results}"
python="${PYTHON:-python3}"
export PYTHONPATH="$PWD:$PWD/tests${PYTHONPATH:+:$PYTHONPATH}"

failed=()
part() {
  echo "== $1"
  "$python" "${@:2}" || failed+=("$1")
}

part "scan" benchmarks/gpu_scan.py --output "$folder/gpu_scan.json"
part "cells" benchmarks/gpu_cells.py --output "$folder/gpu_cells.json"
part "training" benchmarks/training_speed.py --device cuda --output "$folder/gpu_training.json"
part "decoding" benchmarks/decoding.py --device cuda --peers bart --rounds 2 --output "$folder/gpu_decoding.json"
part "compiled" benchmarks/compiled.py --device cuda --decoders ssru lstm --batches 1 --output "$folder/gpu_compiled.json"
part "tests" -m pytest -q -n 8 -m gpu tests/gpu tests/model/test_scan.py tests/test_device_map.py

if [ "${#failed[@]}" -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
