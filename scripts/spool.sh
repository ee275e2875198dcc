#!/usr/bin/env bash
# Gives uploads disks of a fixed size to be received on: scripts/ops/spool.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" spool "$@"
