#!/usr/bin/env bash
# Makes disks of a fixed size for uploads that are being received: scripts/ops/spool.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" spool "$@"
