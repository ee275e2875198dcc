#!/usr/bin/env bash
# Replaces the running version without losing a request to web: scripts/ops/deploy.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" deploy "$@"
