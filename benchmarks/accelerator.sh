#!/usr/bin/env bash
# One run of at most eight minutes on a machine with an accelerator: the numbers of captured steps beside eager ones on the device,
# and ten models beside Pyro. PYTHON names an interpreter that has torch with the device's support; Pyro is left out if it lacks.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
"$PYTHON" -c "import tqdm, opt_einsum" 2>/dev/null || "$PYTHON" -m pip install --quiet tqdm opt_einsum || true
"$PYTHON" -c "import pyro" 2>/dev/null || "$PYTHON" -m pip install --quiet --no-deps pyro-ppl==1.9.2 pyro-api || true
export PYTHONPATH=src:.
timeout 480 "$PYTHON" -m benchmarks.accelerator --seconds 420 "$@"
