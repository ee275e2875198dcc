#!/usr/bin/env bash
# All tests: on this machine's Python, again in the image (its Python, its Django, read-only, no rights), and on a
# running stack. Arguments go to pytest: scripts/test.sh -k chunked
#
# Without an engine it runs what needs none, and ends by saying what it did not run.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
HERE=$ROOT/scripts
PYTEST=$ROOT/.venv/bin/pytest
FAILED=()
BESIDE=''

main() {
    local trouble
    cd "$ROOT"
    OUTPUT=$(mktemp -d)
    trap '[[ -z $BESIDE ]] || kill "$BESIDE"; rm -rf "$OUTPUT"' EXIT
    "$HERE/venv.sh" dev
    trouble=$(engine_trouble)
    if [[ -z $trouble ]]; then
        "$HERE/images.sh"
        build_test_image
        beside "in the image" in_image pytest -p no:cacheprovider tests/server tests/app tests/frameworks "$@"
    fi
    part "on this machine" "$PYTEST" tests --ignore=tests/stack "$@"
    if [[ -z $trouble ]]; then
        ended "in the image"
        # One stack at a time.
        part "on a running stack" "$PYTEST" tests/stack --ignore-glob='tests/stack/*/*' "$@"
        part "on a stack that is operated" "$PYTEST" tests/stack/operation "$@"
        part "on a stack with little room" "$PYTEST" tests/stack/cramped "$@"
        part "on a stack as in production" "$PYTEST" tests/stack/production "$@"
    fi
    total
    if [[ -n $trouble ]]; then
        echo "NOT RUN: the tests in the image, and tests/stack (nginx, web, gunicorn, browser). $trouble"
    fi
    ((${#FAILED[@]} == 0)) || exit 1
}

# Runs one part and goes on to the next whatever becomes of it.
part() {
    local name=$1 status=0
    shift
    say "tests $name"
    "$@" 2>&1 | tee "$OUTPUT/$name" || status=${PIPESTATUS[0]}
    judge "$name" "$status"
}

# Starts a part beside the next one, because both wait a lot. What it says comes when it is `ended`, in one piece.
beside() {
    local name=$1
    shift
    "$@" >"$OUTPUT/$name" 2>&1 &
    BESIDE=$!
}

ended() {
    local name=$1 status=0
    say "tests $name, which ran beside those"
    wait "$BESIDE" || status=$?
    BESIDE=''
    cat "$OUTPUT/$name"
    judge "$name" "$status"
}

# 5: with these arguments it has no test.
judge() { (($2 == 0 || $2 == 5)) || FAILED+=("$1"); }

build_test_image() {
    local builder=(docker build --target test --tag "$(test_image)" --build-arg PYTHON_IMAGE --build-arg NGINX_IMAGE .)
    PYTHON_IMAGE=$(setting PYTHON_IMAGE)
    NGINX_IMAGE=$(setting NGINX_IMAGE)
    export PYTHON_IMAGE NGINX_IMAGE
    load_images
    choose_builder
    say "building $(test_image) (the first time takes some minutes)"
    "${builder[@]}" >"$OUTPUT/build.log" 2>&1 || {
        tail -n 40 "$OUTPUT/build.log" >&2
        die "the test image could not be built"
    }
}

test_image() { echo "uploadstack-test:$(setting IMAGE_TAG)"; }

# As compose.yaml runs the application, and with no network but loopback.
in_image() {
    docker run --rm --init --read-only --tmpfs /tmp:size=512m,mode=1777 --tmpfs /tests/.hypothesis:mode=1777 --network none \
        --cap-drop ALL --security-opt no-new-privileges --user 10001:10001 "$(test_image)" "$@"
}

# The sums of pytest's closing lines: "=== 12 passed, 1 skipped in 3.21s ===", or with -q the same without the frame.
total() {
    local word
    if ((${#FAILED[@]} > 0)); then
        printf 'FAILED: the tests %s\n' "${FAILED[@]}"
    fi
    for word in passed failed error skipped; do
        declare "$word=$(cat "$OUTPUT"/* | grep -E '^(=+ )?[0-9]+ [a-z]+.* in [0-9.]+s' | grep -oE "[0-9]+ $word" | awk '{ n += $1 } END { print n + 0 }')"
    done
    # shellcheck disable=SC2154  # declared in the loop
    echo "total: $passed passed, $((failed + error)) failed, $skipped skipped"
}

main "$@"
