#!/usr/bin/env bash
# Makes the application's role in PostgreSQL an ordinary one, not a superuser: scripts/ops/role.py
set -euo pipefail
exec "$(dirname "$0")/python.sh" role "$@"
