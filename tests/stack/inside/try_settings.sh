#!/bin/sh
# Checks the settings of nginx (-t) with the variables in each line of stdin.
set -f
while IFS= read -r line; do
    echo "--- $line"
    # shellcheck disable=SC2086  # a line has several
    env $line /opt/nginx/entrypoint.sh -t 2>&1 </dev/null
    echo "exit $?"
done
