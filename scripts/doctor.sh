#!/usr/bin/env bash
# Looks for the usual troubles, and says what to do: scripts/ops/doctor.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" doctor "$@"
