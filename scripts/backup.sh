#!/usr/bin/env bash
# Database and media files into one file of backups/, while the stack runs: scripts/ops/backup.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" backup "$@"
