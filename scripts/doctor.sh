#!/usr/bin/env bash
# Checks for common problems, and prints how to fix them: scripts/ops/doctor.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" doctor "$@"
