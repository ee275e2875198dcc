#!/usr/bin/env bash
# Measures our server next to others: scripts/ops/bench.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" bench "$@"
