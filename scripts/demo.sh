#!/usr/bin/env bash
# Sends one photo in chunks to each server of the running stack, and shows what Django stored: scripts/ops/demo.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" demo "$@"
