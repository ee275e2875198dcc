#!/usr/bin/env bash
# Makes sure that the base images are here: scripts/ops/images.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" images "$@"
