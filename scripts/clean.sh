#!/usr/bin/env bash
# Deletes what running this project made: scripts/ops/clean.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" clean "$@"
