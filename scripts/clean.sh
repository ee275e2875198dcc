#!/usr/bin/env bash
# Deletes everything that running this project created: scripts/ops/clean.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" clean "$@"
