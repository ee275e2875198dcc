#!/usr/bin/env bash
# Stops what runs; photos, rows and settings stay: scripts/ops/down.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" down "$@"
