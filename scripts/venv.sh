#!/usr/bin/env bash
# Makes .venv hold exactly what is locked: scripts/ops/venv.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" venv "$@"
