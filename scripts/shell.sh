#!/usr/bin/env bash
# A shell in a container of a service, or one command: scripts/ops/shell.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" shell "$@"
