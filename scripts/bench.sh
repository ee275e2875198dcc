#!/usr/bin/env bash
# Measures our server side by side with others, which it installs into bench/.venv: exactly what is locked, by hash.
# One that cannot be compiled here is left out, and it is said what is missing.
#
#   scripts/bench.sh --only hello,upload --peers granian,bjoern --seconds 3        scripts/bench.sh --help
#
#   PYTHON    the interpreter for all of them. By default the system's, which is built with the help of a profile: what
#             version managers build is a third slower, and then everything that is not compiled looks worse.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

VENV=$ROOT/bench/.venv
COMPILED=(bjoern uwsgi)

main() {
    if [[ ! -f $VENV/.holds || $(cat "$VENV/.holds") != "$(state)" ]]; then
        install
    fi
    cd "$ROOT"
    exec "$VENV/bin/python" -m bench.run "$@"
}

state() { cat "$ROOT"/requirements/bench*.txt | cksum; }

install() {
    local python package complete=yes
    python=$(find_python /usr/bin/python3) || die "no Python 3.11 or newer with venv was found." \
        "Install one (Debian, Ubuntu: sudo apt-get install python3-venv), or name it: PYTHON=/path/to/python3 make bench"
    say "installing the servers to compare with into bench/.venv, for $("$python" --version)"
    "$python" -m venv --clear "$VENV"
    pip_install --only-binary=:all: -r "$ROOT/requirements/bench.txt"
    for package in "${COMPILED[@]}"; do
        if ! pip_install -r <(locked "$package") 2>"$VENV/$package.log"; then
            warn "$package could not be compiled, and is left out (${VENV#"$ROOT"/}/$package.log says why)"
            complete=no
        fi
    done
    [[ $complete == no ]] || state > "$VENV/.holds"  # what is missing is tried again the next time
}

pip_install() { "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes "$@" >&2; }

# The lines of one package, hashes included.
locked() { sed -n "/^$1==/,/^ *# via/p" "$ROOT/requirements/bench-compiled.txt"; }

main "$@"
