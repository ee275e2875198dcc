#!/usr/bin/env bash
# Traffic and trouble on a stack of its own, and then: was anything lost? scripts/ops/soak.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" soak "$@"
