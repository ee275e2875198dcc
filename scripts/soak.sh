#!/usr/bin/env bash
# Sends traffic to a separate stack, causes faults, and checks that nothing was lost: scripts/ops/soak.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" soak "$@"
