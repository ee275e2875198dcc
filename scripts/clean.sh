#!/usr/bin/env bash
# Deletes what running this project made. Says what, and asks first (YES=1: does not ask).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

CACHES=(.mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage build wsgiserver.egg-info)

main() {
    cat >&2 << TEXT
This deletes, for good:
  - the containers and networks of "$(setting COMPOSE_PROJECT_NAME)"
  - its volumes: every photo, every row, every user
  - the images built here (uploadstack-*:$(setting IMAGE_TAG))
  - var/ (photos and rows of make dev) and the tools' caches
It keeps .env, .venv and the base images.
TEXT
    confirmed || die "nothing was deleted"
    "$ROOT/scripts/down.sh"
    [[ -n $(engine_trouble) || ! -f $ENV_FILE ]] || delete_stack
    cd "$ROOT"
    rm -rf var "${CACHES[@]}"
    find app wsgiserver tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
    say "clean"
}

delete_stack() {
    local image
    COMPOSE_PROFILES=$ALL_PROFILES "$ROOT/scripts/compose.sh" down --volumes --remove-orphans >&2
    for image in runtime edge test; do
        docker image rm "uploadstack-$image:$(setting IMAGE_TAG)" >/dev/null 2>&1 || true
    done
}

main
