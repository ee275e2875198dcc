#!/usr/bin/env bash
# Runs the application without containers: scripts/ops/dev.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" dev "$@"
