#!/usr/bin/env bash
# What runs, and how it is: scripts/ops/ps.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" ps "$@"
