#!/usr/bin/env bash
# Replaces database and media files with a backup: scripts/ops/restore.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" restore "$@"
