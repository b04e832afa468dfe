#!/usr/bin/env bash
# Runs the tests of contacts with the newest transformers, and the newest of all else but torch, that pip finds today, in
# the environment `.venv/newest`; arguments go to pytest. FutureWarnings are errors: they announce the next break.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare test newest
cd "$PROJECT"
"$PYTHON" -c "
import transformers
pinned = next(line.strip() for line in open('constraints.txt') if line.startswith('transformers=='))
print('transformers', transformers.__version__, '; pinned is', pinned)"
# Exceptions stand in a file with their date, are printed here, and expire.
exceptions="$("$PYTHON" scripts/newest_exceptions.py)"
mapfile -t deselected < <(printf '%s' "$exceptions")
# the second filter: calls that PEFT makes
exec "$PYTHON" -m pytest -m "contact and not slow" -W error::FutureWarning \
  -W 'ignore:`is_gradient_checkpointing` is deprecated:FutureWarning' "${deselected[@]/#/--deselect=}" "$@"
