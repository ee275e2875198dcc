#!/usr/bin/env bash
# Lists the containers and their states: scripts/ops/ps.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" ps "$@"
