#!/usr/bin/env bash
# Makes .venv hold exactly what is locked, checked by hash; does nothing while that has not changed.
#
#   scripts/venv.sh app    what the application needs        scripts/venv.sh dev    and tests and checks
#
#   PYTHON    the interpreter to make it with; by default the first on PATH that is new enough
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

VENV=$ROOT/.venv

main() {
    local set=${1:?app or dev}
    if holds "$set" || { [[ $set == app ]] && holds dev; }; then
        return
    fi
    [[ -x $VENV/bin/python ]] || create
    say "installing requirements/$set.txt into .venv (the first time takes a minute or two)"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: \
        -r "$ROOT/requirements/$set.txt" >&2
    rm -f "$VENV"/.holds-*
    state "$set" > "$VENV/.holds-$set"
}

holds() { [[ -f $VENV/.holds-$1 && $(cat "$VENV/.holds-$1") == "$(state "$1")" ]]; }

state() { cksum < "$ROOT/requirements/$1.txt"; }

create() {
    local python
    python=$(find_python "") || die "no Python 3.11 or newer with venv was found." \
        "Install one (Debian, Ubuntu: sudo apt-get install python3-venv), or name it: PYTHON=/path/to/python3 $0 ..."
    say "making .venv with $("$python" --version)"
    "$python" -m venv "$VENV"
}

main "$@"
