#!/usr/bin/env bash
# Starts the stack, or applies changes to it: scripts/ops/up.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" up "$@"
