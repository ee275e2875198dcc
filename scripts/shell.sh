#!/usr/bin/env bash
# Opens a shell, or runs a command, in a container of a service: scripts/ops/shell.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" shell "$@"
