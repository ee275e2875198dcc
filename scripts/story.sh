#!/usr/bin/env bash
# Where it runs, how to log in, and an upload to paste. Called with `stack` or `dev`; passwords are told with `first` behind
# that, when what runs is new, and no more: what is printed stays in terminals and in the logs of those who automate this.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

main() {
    local site insecure=''
    IS_FIRST=${2:-}
    [[ ${1:-stack} != dev ]] || export TLS=off  # there is no nginx to do it
    site=$(address_of HTTP_PORT)
    [[ $site != https:* || $(setting TLS_FOLDER) != certificates ]] || insecure=' --insecure'
    echo
    if [[ ${1:-stack} == dev ]]; then
        echo "  Gallery    $site/      (wsgiserver, no nginx)"
    else
        echo "  Gallery    $site/      (nginx -> wsgiserver)"
        echo "  Baseline   $(address_of GUNICORN_PORT)/      (nginx -> gunicorn)"
        [[ $(setting COMPOSE_PROFILES) != *demo* ]] ||
            echo "  The bug    $(address_of RUNSERVER_PORT)/      (runserver: a chunked upload arrives empty)"
        monitoring
    fi
    echo "  Login      $(setting DEMO_USER), with the password $(password DEMO_PASSWORD)"
    echo
    echo "Upload a picture in chunks, from this folder:"
    echo
    [[ -z $insecure ]] || printf '  # The certificate is self-signed: browsers warn, hence --insecure.\n\n'
    echo "  curl$insecure -T docs/sample.jpg -H 'Transfer-Encoding: chunked' \\"
    echo "       -H \"Authorization: Token \$(make -s token)\" $site/api/photos/sample.jpg"
    echo
}

# It, or where it is.
password() { if [[ $IS_FIRST == first ]]; then setting "$1"; else echo "that is in $ENV_FILE: $1"; fi; }

# Only ever on 127.0.0.1. Without Grafana's image the profile is another one: see load_images.
monitoring() {
    load_images
    if has_profile monitoring; then
        echo "  Dashboard  http://127.0.0.1:$(setting GRAFANA_PORT)/      (Grafana: admin, with the password $(password GRAFANA_PASSWORD))"
    fi
    if has_profile monitoring || has_profile prometheus; then
        echo "  Alerts     http://127.0.0.1:$(setting PROMETHEUS_PORT)/alerts      (Prometheus)"
    fi
}

main "$@"
