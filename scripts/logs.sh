#!/usr/bin/env bash
# Follows the logs of whatever runs: scripts/logs.sh [SERVICE ...]
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

if dev_pid >/dev/null; then
    [[ -f $(dev_file log) ]] || die "the server of make dev writes to the terminal it was started in"
    exec tail -n 100 -F "$(dev_file log)"
fi
exec "$ROOT/scripts/compose.sh" logs --follow --tail 100 "$@"
