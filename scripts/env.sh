#!/usr/bin/env bash
# Writes .env with random secrets, once: scripts/ops/env.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" env "$@"
