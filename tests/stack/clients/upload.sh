#!/usr/bin/env bash
# curl: bash upload.sh URL TOKEN FILE
# Prints the answer. Exit status 22 when that is a refusal (--fail-with-body needs curl 7.76).
set -euo pipefail

curl --silent --show-error --fail-with-body \
    --header "Authorization: Token $2" \
    --header "Transfer-Encoding: chunked" \
    --upload-file "$3" \
    "$1"
