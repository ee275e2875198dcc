#!/usr/bin/env bash
# From nothing to a running stack: what `make up` runs. Running it again applies what changed and leaves the rest alone.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/fit.sh
source "$ROOT/scripts/fit.sh"
HERE=$ROOT/scripts

main() {
    # --- looks -------------------------------------------------------------------------------------------
    local trouble first=first
    trouble=$(engine_trouble)
    if [[ -n $trouble ]]; then
        say "$trouble. Until then, without containers: the same application on our server, SQLite, no nginx."
        exec "$HERE/dev.sh" --detach
    fi
    if dev_pid >/dev/null; then
        die "the server without containers runs on these ports; run: make down"
    fi

    ! docker volume inspect "$(setting COMPOSE_PROJECT_NAME)_media" >/dev/null 2>&1 || first=''

    # --- touches -----------------------------------------------------------------------------------------
    "$HERE/env.sh"
    hold_lock 900
    refuse_unfit
    refuse_taken_ports
    "$HERE/images.sh"
    say "building the images (only what changed)"
    "$HERE/compose.sh" build >&2
    # What only they themselves can know, when there is something that a wrong setting would take away.
    [[ -z $(containers_of web --filter status=running; containers_of nginx --filter status=running) ]] || try_out_new
    mend_database
    say "starting"
    "$HERE/compose.sh" up -d --remove-orphans >&2 || give_up "the stack did not start"
    wait_until_healthy
    "$HERE/story.sh" stack "$first"
}

# Before anything uses it: the database of an earlier version gave the application more than it needs.
mend_database() {
    has_profile postgres || return 0
    "$HERE/compose.sh" up -d --no-deps db >&2 || give_up "the database did not start"
    "$HERE/role.sh" || give_up "the database could not be mended"
}

wait_until_healthy() {
    local deadline=$((SECONDS + 180)) waiting before=''
    while :; do
        waiting=$(not_well)
        [[ -n $waiting ]] || break
        [[ $waiting == "$before" ]] || say "waiting for: $(awk '{ print $1 " (" $2 ")" }' <<< "$waiting" | paste -sd ' ' -)"
        before=$waiting
        ! grep -qE ' failed | ([3-9]|[0-9]{2,})$' <<< "$waiting" || give_up "one of the services ends again and again"
        ((SECONDS < deadline)) || give_up "not healthy after three minutes"
        sleep 1
    done
}

not_well() { "$HERE/states.sh" | grep -v -e ' healthy ' -e ' done ' || true; }

# With what those said that are to blame.
give_up() {
    local service
    "$HERE/compose.sh" ps >&2
    for service in $(not_well | cut -d ' ' -f 1); do
        "$HERE/compose.sh" logs --tail 20 "$service" >&2
    done
    die "$1: what is above says why; for the usual troubles: make doctor"
}

main
