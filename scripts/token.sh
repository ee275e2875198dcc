#!/usr/bin/env bash
# Prints a fresh API token of DEMO_USER, and nothing else, from whatever runs: the stack, or the server without one.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

main() {
    local user
    user=$(setting DEMO_USER)
    if dev_pid >/dev/null; then
        SECRET_KEY=$(setting SECRET_KEY) "$ROOT/.venv/bin/python" "$ROOT/app/manage.py" create_token "$user"
    elif [[ -z $(engine_trouble) && -n $(first_of web) ]]; then
        docker exec "$(first_of web)" python manage.py create_token "$user"
    else
        die "nothing runs that could make a token; run: make up"
    fi
}

main
