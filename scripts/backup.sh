#!/usr/bin/env bash
# Saves database and media files to one file in backups/, while the stack runs: scripts/ops/backup.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" backup "$@"
