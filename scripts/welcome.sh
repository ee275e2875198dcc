#!/usr/bin/env bash
# Prints where it runs, how to log in, and an upload to paste: scripts/ops/welcome.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" welcome "$@"
