#!/usr/bin/env bash
# Stops the stack; keeps photos, rows and settings: scripts/ops/down.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" down "$@"
