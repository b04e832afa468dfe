#!/usr/bin/env bash
# Sets everything up on a machine that has only Python 3.11 or newer, trains a small hybrid on pronunciation for about
# three minutes, measures it on held-out words, and pronounces the given words with the saved checkpoint.
#
#   bash scripts/quickstart.sh                       with example words
#   bash scripts/quickstart.sh hello transformer     with your own; a trained checkpoint is used again
#   bash scripts/quickstart.sh --retrain             trains again
#   bash scripts/quickstart.sh --help                everything else
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare train,viz
exec "$PYTHON" "$PROJECT/scripts/quickstart.py" "$@"
