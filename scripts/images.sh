#!/usr/bin/env bash
# Makes sure that the base images are here, and says where each came from: present, pulled, or a stand-in built from
# Debian's packages. The outcome is written to .images, which scripts/compose.sh reads.
#
#   scripts/images.sh            a second run takes a second: it asks no registry while what it chose is still here
#   scripts/images.sh --retry    asks the registry again for what a stand-in holds the place of
#
#   PULL_TIMEOUT   seconds that one pull may take, default 900
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

CHOICE=$ROOT/.images
REGISTRY_ANSWERS=yes
RETRY=no

main() {
    local name
    [[ ${1:-} != --retry ]] || RETRY=yes
    DRAFT=$(mktemp)
    trap 'rm -f "$DRAFT"' EXIT
    echo "# Written by scripts/images.sh: what stands in for a base image that could not be pulled." > "$DRAFT"
    for name in PYTHON_IMAGE NGINX_IMAGE POSTGRES_IMAGE PROMETHEUS_IMAGE GRAFANA_IMAGE; do
        if is_needed "$name"; then
            provide "$name" "$(setting "$name")"
        else
            grep "^$name " "$CHOICE" >> "$DRAFT" 2>/dev/null || true  # another stack may need it
        fi
    done
    cat "$DRAFT" > "$CHOICE"
}

is_needed() {
    case $1 in
        POSTGRES_IMAGE) has_profile postgres ;;
        PROMETHEUS_IMAGE) has_profile monitoring || has_profile prometheus ;;
        GRAFANA_IMAGE) has_profile monitoring ;;
    esac
}

provide() {
    local name=$1 wanted=$2 standin
    standin=$(standin_for "$name" "$wanted")
    if is_here "$wanted"; then
        say "$wanted: here"
    elif [[ $name == GRAFANA_IMAGE ]]; then
        pull_or_do_without "$name" "$wanted"
    elif [[ $RETRY == no ]] && is_fresh "$standin"; then
        say "$wanted: its stand-in $standin, from Debian packages (to ask the registry again: scripts/images.sh --retry)"
        choose "$name" "$standin" "$wanted"
    elif pull "$wanted"; then
        say "$wanted: pulled"
    else
        say "$wanted: not to be had from its registry ($REASON); a stand-in takes its place"
        is_fresh "$standin" || build "$name" "$wanted" "$standin"
        say "$wanted: using $standin, built from Debian packages"
        choose "$name" "$standin" "$wanted"
    fi
}

# Debian has no Grafana that could stand in. What the registry said is remembered, as with a stand-in.
pull_or_do_without() {
    local name=$1 wanted=$2
    if [[ $RETRY == no ]] && grep -qxF "$name none $wanted" "$CHOICE" 2>/dev/null; then
        REASON="as before"
    elif pull "$wanted"; then
        say "$wanted: pulled"
        return
    fi
    say "$wanted: not to be had from its registry ($REASON), and nothing can stand in for it; the profile monitoring goes" \
        "on without Grafana (to ask the registry again: scripts/images.sh --retry)"
    choose "$name" none "$wanted"
}

choose() { echo "$@" >> "$DRAFT"; }

is_here() { docker image inspect "$1" >/dev/null 2>&1; }

# Built by the recipe as it is now.
is_fresh() {
    local recipe
    recipe=$(docker image inspect --format '{{index .Config.Labels "standin.recipe"}}' "$1" 2>/dev/null) || return 1
    [[ $recipe == "$("$ROOT/scripts/standin.sh" --recipe)" ]]
}

# Sets REASON when it fails. One registry that does not answer is not asked again for the next image.
pull() {
    local errors status=0
    REASON="it did not answer for the image before"
    [[ $REGISTRY_ANSWERS == yes ]] || return 1
    say "$1: pulling"
    errors=$(mktemp)
    bounded "${PULL_TIMEOUT:-900}" docker pull "$1" >&2 2>"$errors" || status=$?
    REASON=$(tail -n 1 "$errors")
    rm -f "$errors"
    [[ $status != 124 ]] || REASON="no answer within ${PULL_TIMEOUT:-900} seconds"
    case $REASON in
        *'not found'* | *denied* | *unknown*) ;;
        *) [[ $status == 0 ]] || REGISTRY_ANSWERS=no ;;
    esac
    return "$status"
}

# PYTHON_IMAGE registry/python:3.14-slim-trixie -> python:standin-3.14
standin_for() { echo "$(kind_of "$1"):standin-$(version_of "$2")"; }
kind_of() { echo "${1%_IMAGE}" | tr '[:upper:]' '[:lower:]'; }
# Of Prometheus only the 3 of v3.13.2: monitoring/ needs no more, and Debian keeps to an older release with long support.
version_of() { sed -n -e 's/^.*:v\([0-9]*\).*$/\1/p' -e 's/^.*:\([0-9][0-9.]*\).*$/\1/p' <<< "$1"; }

build() {
    local version
    version=$(version_of "$2")
    [[ -n $version ]] || die "$1=$2 names no version that a stand-in could have; write one like: $(value_in "$ROOT/.env.example" "#$1")"
    "$ROOT/scripts/standin.sh" "$(kind_of "$1")" "$version" "$3"
}

main "$@"
