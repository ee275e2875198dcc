#!/usr/bin/env bash
# Runs a command of scripts/ops: scripts/python.sh deploy ... Fails with a message if there is no Python.
set -euo pipefail

# scripts/run.py checks whether it is new enough.
if ! command -v python3 >/dev/null 2>&1; then
    echo "error: python3 is not installed; this command needs Python 3.9 or newer (Debian, Ubuntu: sudo apt-get install python3)" >&2
    exit 1
fi
exec python3 -I -S -X utf8 "$(dirname "$0")/run.py" "$@"
