#!/usr/bin/env bash
# Half an hour of traffic and trouble on a stack of its own, and then: is every upload that was answered 201 there?
# What `make soak` runs; bench/soak.py is the program. Ends with `lost: 0`, and fails if it is another number.
#
#   MINUTES=30         how long; 0.2 is a try
#   WEB_REPLICAS=2     containers of web
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

main() {
    need_engine
    "$ROOT/scripts/venv.sh" dev
    cd "$ROOT"
    exec .venv/bin/python -m bench.soak --minutes "${MINUTES:-30}" --replicas "${WEB_REPLICAS:-2}"
}

main
