#!/usr/bin/env bash
# Replaces what runs by a new version, without a lost request: scripts/ops/deploy.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" deploy "$@"
