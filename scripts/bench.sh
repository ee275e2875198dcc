#!/usr/bin/env bash
# Measures our server side by side with others: scripts/ops/bench.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" bench "$@"
