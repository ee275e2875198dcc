#!/usr/bin/env bash
# Prints the addresses, the login, and an upload command to paste: scripts/ops/welcome.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" welcome "$@"
