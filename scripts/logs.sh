#!/usr/bin/env bash
# Follows the logs of the stack, or of the server of make dev: scripts/ops/logs.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" logs "$@"
