#!/usr/bin/env bash
# Writes .env from .env.example, with random secrets: once, readable by you alone, never over an existing one.
#
#   scripts/env.sh                                        what `make env` runs
#   scripts/env.sh --output FILE NAME=value NAME=value    another file, with these settings
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

EXAMPLE=$ROOT/.env.example

main() {
    if [[ ${1:-} == --output ]]; then
        [[ -n ${2:-} ]] || die "--output needs a file name"
        ENV_FILE=$2
        shift 2
    fi
    refuse_unknown "$@"
    if [[ -e $ENV_FILE ]]; then
        complain_about_missing
        say "$ENV_FILE is there and stays as it is"
        return
    fi
    write "$@"
    say "wrote $ENV_FILE, with new secrets"
}

refuse_unknown() {
    local pair
    for pair in "$@"; do
        grep -qE "^#?${pair%%=*}=" "$EXAMPLE" || die "${pair%%=*} is no setting of .env.example"
    done
}

# What the example leaves uncommented has no default. A file from an older version may lack some of it.
complain_about_missing() {
    local name missing=''
    while read -r name; do
        is_required "$name" || continue
        case $(value_in "$ENV_FILE" "$name") in '' | change-me) missing+=" $name" ;; esac
    done < <(sed -n 's/^\([A-Z_]*\)=.*/\1/p' "$EXAMPLE")
    [[ -z $missing ]] || die "$ENV_FILE has no value for$missing, or a placeholder: it needs a line NAME=value for each" \
        "(.env.example tells what they are; for a secret, take what this prints: openssl rand -hex 32)"
}

# Whole or not at all: written beside, then linked into place, which fails if somebody was faster.
write() {
    local draft
    mkdir -p "$(dirname "$ENV_FILE")"
    umask 077
    draft=$(mktemp "$ENV_FILE.XXXXXX")
    # shellcheck disable=SC2064  # the name as it is now
    trap "rm -f '$draft'" EXIT
    render "$@" > "$draft"
    ln "$draft" "$ENV_FILE" 2>/dev/null || die "$ENV_FILE appeared meanwhile; it stays as it is"
}

render() {
    local line name
    while IFS= read -r line; do
        name=$(sed -n 's/^#\{0,1\}\([A-Z_]*\)=.*/\1/p' <<< "$line")
        if [[ -n $name ]] && given "$name" "$@"; then
            line="$name=$GIVEN"
        elif [[ $line == "$name=change-me" ]]; then
            line="$name=$(random_hex "$name")"
        fi
        printf '%s\n' "$line"
    done < "$EXAMPLE"
}

# Sets GIVEN to the value of NAME among NAME=value arguments, if it is one of them.
given() {
    local name=$1 pair
    shift
    for pair in "$@"; do
        if [[ ${pair%%=*} == "$name" ]]; then
            GIVEN=${pair#*=}
            return
        fi
    done
    return 1
}

# Hexadecimal: means the same in .env, in a URL and in a shell. Passwords are shorter: people type them.
random_hex() {
    local bytes=32
    [[ $1 != *_PASSWORD ]] || bytes=12
    od -An -v -tx1 -N"$bytes" /dev/urandom | tr -d ' \n'
}

main "$@"
