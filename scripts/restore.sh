#!/usr/bin/env bash
# Puts what a backup holds in the place of what is there: scripts/ops/restore.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" restore "$@"
