#!/usr/bin/env bash
# Prints a new API token of the demo user: scripts/ops/token.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" token "$@"
