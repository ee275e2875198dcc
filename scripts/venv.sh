#!/usr/bin/env bash
# Installs exactly the locked packages into .venv: scripts/ops/venv.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" venv "$@"
