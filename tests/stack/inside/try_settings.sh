#!/bin/sh
# Starts nginx far enough to know what it thinks of its settings, with the variables in each line of stdin.
set -f
while IFS= read -r line; do
    echo "--- $line"
    # shellcheck disable=SC2086  # a line has several
    env $line /opt/edge/entrypoint.sh -t 2>&1 </dev/null
    echo "exit $?"
done
