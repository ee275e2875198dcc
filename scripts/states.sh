#!/usr/bin/env bash
# One line for each container of the stack: service, state, how often it was restarted. "web healthy 0", "migrate done 0"
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

service='{{index .Config.Labels "com.docker.compose.service"}}'
running='{{with .State.Health}}{{.Status}}{{else}}running{{end}}'
exited='{{if .State.ExitCode}}failed{{else}}done{{end}}'
state="{{if eq .State.Status \"running\"}}$running{{else if eq .State.Status \"exited\"}}$exited{{else}}{{.State.Status}}{{end}}"

"$ROOT/scripts/compose.sh" ps --all --quiet | while read -r container; do
    docker inspect --format "$service $state {{.RestartCount}}" "$container" 2>/dev/null || true
done
