#!/usr/bin/env bash
# Follows the logs of whatever runs: scripts/ops/logs.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" logs "$@"
