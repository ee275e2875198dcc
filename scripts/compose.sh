#!/usr/bin/env bash
# Compose on this project: scripts/compose.sh ps, scripts/compose.sh exec web sh, ...
#
# It picks the generation that is here (`docker compose` or `docker-compose`), the builder, and the base images that
# scripts/images.sh found. To run a second stack beside the first one, with its own data, ports and limits:
#
#   scripts/env.sh --output /tmp/second/.env COMPOSE_PROJECT_NAME=second HTTP_PORT=9080 GUNICORN_PORT=9081
#   ENV_FILE=/tmp/second/.env scripts/compose.sh up -d
#
#   ENV_FILE   the settings; default .env. IMAGE_TAG in it names the images; stacks with the same one share them.
#   COMPOSE    the command, e.g. COMPOSE=docker-compose where both generations are installed
#   DOCKER_BUILDKIT=0|1    the classic builder or BuildKit
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

main() {
    local command
    need_engine
    [[ -f $ENV_FILE ]] || die "there is no $ENV_FILE yet; run: make env"
    load_images
    choose_builder
    read -r -a command <<< "$(compose_command)"
    cd "$ROOT"
    exec "${command[@]}" --env-file "$ENV_FILE" "$@"
}

main "$@"
