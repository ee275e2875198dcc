#!/usr/bin/env bash
# From nothing to a running stack: scripts/ops/up.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" up "$@"
