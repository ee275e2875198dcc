#!/usr/bin/env bash
# Deletes what running this project made. Says what, and asks first (YES=1: does not ask).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

CACHES=(.mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage build wsgiserver.egg-info)

main() {
    refuse_others
    cat >&2 << TEXT
This deletes, for good:
  - the containers and networks of "$(setting COMPOSE_PROJECT_NAME)"
  - its volumes: every photo, every row, every user ($(volumes | paste -sd ' ' -))
  - the images built here (uploadstack-*:$(setting IMAGE_TAG))
  - var/ (photos and rows of make dev) and the tools' caches
It keeps .env, .venv and the base images.
TEXT
    confirmed || die "nothing was deleted"
    "$ROOT/scripts/down.sh"
    if [[ -n $(engine_trouble) || ! -f $ENV_FILE ]]; then
        warn "containers, volumes and images stay: $(engine_trouble)"
    else
        delete_stack
    fi
    cd "$ROOT"
    rm -rf "${CACHES[@]}"
    # The locks of other stacks have to stay: whoever holds one would no longer keep anybody out.
    find var -mindepth 1 -maxdepth 1 ! -name '*.lock' -exec rm -rf {} + 2>/dev/null || true
    find app wsgiserver tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
    say "clean"
}

# What others use is not ours to delete.
refuse_others() {
    local volume others file pid
    for volume in $(volumes); do
        others=$(strangers_with "$volume")
        [[ -z $others ]] || die "$volume is used by other stacks, too ($others); nothing was deleted"
    done
    # var/ is shared by all servers without containers, whatever their ports are.
    for file in "$ROOT"/var/dev-*.pid; do
        [[ -e $file && $file != "$(dev_file pid)" ]] || continue
        pid=$(cat "$file")
        ! kill -0 "$pid" 2>/dev/null ||
            die "another server without containers (process $pid) has its photos in var/; stop it. Nothing was deleted"
    done
}

volumes() {
    [[ -n $(engine_trouble) ]] ||
        docker volume ls --quiet --filter "label=com.docker.compose.project=$(setting COMPOSE_PROJECT_NAME)"
}

delete_stack() {
    local image
    COMPOSE_PROFILES=$ALL_PROFILES "$ROOT/scripts/compose.sh" down --volumes --remove-orphans >&2
    for image in runtime edge test; do
        docker image rm "uploadstack-$image:$(setting IMAGE_TAG)" >/dev/null 2>&1 || true
    done
}

main
