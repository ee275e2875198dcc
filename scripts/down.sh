#!/usr/bin/env bash
# Stops what runs, with an engine or without; photos, rows and settings stay.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

main() {
    local pid
    if pid=$(dev_pid); then
        stop_dev "$pid"
    fi
    if [[ -z $(engine_trouble) && -f $ENV_FILE ]]; then
        hold_lock 900
        # Every profile, or Compose leaves what it does not see.
        COMPOSE_PROFILES=$ALL_PROFILES "$ROOT/scripts/compose.sh" down --remove-orphans
    fi
}

# It finishes the requests it has.
stop_dev() {
    local deadline=$((SECONDS + 90))
    say "stopping the server without containers"
    kill -TERM "$1"
    while kill -0 "$1" 2>/dev/null; do
        ((SECONDS < deadline)) || die "process $1 does not end"
        sleep 0.2
    done
    rm -f "$(dev_file pid)"
}

main
