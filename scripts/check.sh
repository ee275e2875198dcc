#!/usr/bin/env bash
# Everything that can be checked without running the application; goes through all of it, and fails if anything did.
# What is not installed here is named at the end.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
HERE=$ROOT/scripts
PATH=$ROOT/.venv/bin:$PATH
FAILED=()
NOT_RUN=()

main() {
    local trouble
    cd "$ROOT"
    "$HERE/venv.sh" dev
    check "lint" ruff check .
    check "format" ruff format --check .
    check "types" mypy .
    check "architecture" pytest -q -p no:cacheprovider tests/test_architecture.py
    check_if_here shellcheck --external-sources scripts/*.sh scripts/*/*.sh nginx/*.sh postgres/*.sh tests/stack/{clients,inside}/*.sh .ci/run
    check_if_here hadolint Dockerfile
    check_if_here actionlint
    trouble=$(engine_trouble)
    if [[ -z $trouble ]]; then
        check_stack
    else
        NOT_RUN+=("compose config, nginx -t and promtool: $trouble")
    fi
    verdict
}

# Silent when all is well.
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        printf '  ok      %s\n' "$name"
    else
        printf '  FAILED  %s\n%s\n' "$name" "$output"
        FAILED+=("$name")
    fi
}

check_if_here() {
    if has "$1"; then
        check "$1" "$@"
    else
        NOT_RUN+=("$1: not installed")
    fi
}

# With settings and a name of their own, so that they need no .env, find no stack, and leave its images alone.
check_stack() {
    FOLDER=$(mktemp -d)
    export ENV_FILE=$FOLDER/.env COMPOSE_PROJECT_NAME=uploadstack-check-$$
    trap 'docker image rm "$(image_called edge)" >/dev/null 2>&1 || true; rm -rf "$FOLDER"' EXIT
    "$HERE/env.sh" 2>/dev/null
    check "compose config" compose_config
    "$HERE/images.sh"
    check "building the edge image" "$HERE/compose.sh" build nginx
    check "nginx -t" edge_with off -t
    check "nginx -t, TLS=on" edge_with on -t
    check "gixy" gixy_on off
    check "gixy, TLS=on" gixy_on on
    COMPOSE_PROFILES=prometheus "$HERE/images.sh"
    check "prometheus configuration" promtool check config --lint-fatal /etc/prometheus/prometheus.yml
    check "alerts" promtool test rules /etc/prometheus/alerts.test.yml
    check "queries of the dashboard" check_dashboard
}

# The edge image by itself, its settings those of .env.example.
edge_with() {
    local tls=$1 name given=()
    shift
    for name in $NGINX_SETTINGS; do
        given+=(--env "$name=$(setting "$name")")
    done
    docker run --rm --network none --read-only --cap-drop ALL --tmpfs /tmp --tmpfs /var/spool/nginx:uid=10002 \
        --tmpfs /srv/certificates:uid=10002 --env "TLS=$tls" --env MEDIA_URL=/media/ "${given[@]}" "$(image_called edge)" "$@"
}

# What is valid and a hole all the same, in the configuration as it is rendered.
gixy_on() { edge_with "$1" -T 2>/dev/null | gixy --format text -; }

# Prometheus's own checker, out of the image that runs it.
promtool() {
    (
        load_images
        docker run --rm --interactive --network none --read-only --tmpfs /tmp --cap-drop ALL --user 65534:65534 --entrypoint promtool \
            --volume "$ROOT/monitoring:/etc/prometheus:ro" "$(setting PROMETHEUS_IMAGE)" "$@"
    )
}

# It has a parser for rules, so each query becomes one.
check_dashboard() {
    python "$HERE/dashboard_rules.py" monitoring/grafana/dashboards/*.json | promtool check rules --lint-fatal
}

# In every generation that is here, with every profile.
compose_config() {
    local generation
    for generation in "docker compose" docker-compose; do
        ! $generation version >/dev/null 2>&1 ||
            COMPOSE=$generation COMPOSE_PROFILES=$ALL_PROFILES "$HERE/compose.sh" config -q || return 1
    done
}

verdict() {
    if ((${#NOT_RUN[@]} > 0)); then
        printf '  not run %s\n' "${NOT_RUN[@]}"
    fi
    if ((${#FAILED[@]} > 0)); then
        printf '\nFailed checks: %d\n' "${#FAILED[@]}"
        exit 1
    fi
}

[[ ${BASH_SOURCE[0]} != "$0" ]] || main
