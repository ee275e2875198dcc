#!/usr/bin/env bash
# Runs every check that does not need the running application, to the end, and fails if one of them failed.
# Checks whose tool is not installed are listed at the end.
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

# Runs one check. Prints its output only if it fails.
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

# With separate settings and a separate project name, so that the checks need no .env and do not touch a stack's images.
check_stack() {
    FOLDER=$(mktemp -d)
    export ENV_FILE=$FOLDER/.env COMPOSE_PROJECT_NAME=uploadstack-check-$$
    trap 'docker image rm "$(image_called nginx)" >/dev/null 2>&1 || true; rm -rf "$FOLDER"' EXIT
    "$HERE/env.sh" 2>/dev/null
    check "compose config" compose_config
    "$HERE/images.sh"
    check "building the image of nginx" "$HERE/compose.sh" build nginx
    check "nginx -t" nginx_with off -t
    check "nginx -t, TLS=on" nginx_with on -t
    check "gixy" gixy_on off
    check "gixy, TLS=on" gixy_on on
    COMPOSE_PROFILES=prometheus "$HERE/images.sh"
    check "prometheus configuration" promtool check config --lint-fatal /etc/prometheus/prometheus.yml
    check "alerts" promtool test rules /etc/prometheus/alerts.test.yml
    check "queries of the dashboard" check_dashboard
}

# Runs the image of nginx alone, with the settings of .env.example.
nginx_with() {
    local tls=$1 name given=()
    shift
    for name in $NGINX_SETTINGS; do
        given+=(--env "$name=$(setting "$name")")
    done
    docker run --rm --network none --read-only --cap-drop ALL --tmpfs /tmp --tmpfs /var/spool/nginx:uid=10002 \
        --tmpfs /srv/certificates:uid=10002 --env "TLS=$tls" --env MEDIA_URL=/media/ "${given[@]}" "$(image_called nginx)" "$@"
}

# Finds valid but insecure settings in the rendered configuration.
gixy_on() { nginx_with "$1" -T 2>/dev/null | gixy --format text -; }

# Prometheus's own checker, from the image that the stack uses.
promtool() {
    (
        load_images
        docker run --rm --interactive --network none --read-only --tmpfs /tmp --cap-drop ALL --user 65534:65534 --entrypoint promtool \
            --volume "$ROOT/monitoring:/etc/prometheus:ro" "$(setting PROMETHEUS_IMAGE)" "$@"
    )
}

# promtool can parse rules only, so each query is written as a rule.
check_dashboard() {
    python "$HERE/dashboard_rules.py" monitoring/grafana/dashboards/*.json | promtool check rules --lint-fatal
}

# With every installed generation of Compose, and every profile.
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
