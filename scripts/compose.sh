#!/usr/bin/env bash
# Runs Compose for this project: scripts/compose.sh ps, scripts/compose.sh exec web sh, ... (scripts/ops/compose.py)
#
# It uses the installed generation (`docker compose` or `docker-compose`), the builder, and the base images that
# scripts/images.sh chose. To run a second stack next to the first one, with its own data, ports and limits:
#
#   scripts/env.sh --output /tmp/second/.env COMPOSE_PROJECT_NAME=second HTTP_PORT=9080 GUNICORN_PORT=9081
#   ENV_FILE=/tmp/second/.env scripts/compose.sh up -d
#
#   ENV_FILE   the settings; default .env. COMPOSE_PROJECT_NAME in it is the prefix of all names of the stack, including
#              its images.
#   COMPOSE    the command, such as COMPOSE=docker-compose where both generations are installed
#   DOCKER_BUILDKIT=0|1    the classic builder, or BuildKit
set -euo pipefail
exec "$(dirname "$0")/python.sh" compose "$@"
