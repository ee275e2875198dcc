#!/usr/bin/env bash
# Prints a fresh API token of the demo user: scripts/ops/token.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" token "$@"
