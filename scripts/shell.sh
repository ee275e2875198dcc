#!/usr/bin/env bash
# A shell in a container of a service, or one command: scripts/shell.sh [SERVICE [COMMAND ...]]
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

main() {
    local service=${1:-web} container terminal=()
    container=$(first_of "$service")
    [[ -n $container ]] || die "$service does not run; see: make ps"
    shift || true
    [[ ! -t 0 ]] || terminal=(--tty)
    exec docker exec --interactive ${terminal[@]+"${terminal[@]}"} "$container" "${@:-sh}"
}

main "$@"
