#!/usr/bin/env bash
# Installs the test extra into `.venv` and runs pytest; arguments go to pytest.
#
#   bash scripts/test.sh                 everything but the long tests
#   bash scripts/test.sh -n 2 -k cache   two processes, the tests about the cache
#   bash scripts/test.sh -m slow         the long tests
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare test
cd "$PROJECT"
exec "$PYTHON" -m pytest "$@"
