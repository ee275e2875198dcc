#!/usr/bin/env bash
# Provides the base images: scripts/ops/images.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" images "$@"
