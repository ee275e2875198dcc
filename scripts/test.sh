#!/usr/bin/env bash
# All tests: of the server on this machine's Python and again in the image (its Python, read-only, no rights), of the
# application in the image, where it runs, and on running stacks. Arguments go to pytest: scripts/test.sh -k chunked
#
#   scripts/test.sh --quick    after each change: no containers, and no test that is marked slow
#
# Most tests wait most of the time, so lanes run side by side, and the parts of a lane one after another. First come those
# that need the processors and those that start and stop stacks. Then come those that use one stack each, so that no network
# of containers comes or goes: Chromium interrupts requests when one does. More lanes at once would be slower: the health
# checks of their containers would take the processors. The output of a part is shown in one piece when the part ends.
#
# Without a container engine it runs the tests that need none, those of the application too, and says at the end which it
# did not run.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
HERE=$ROOT/scripts
PYTEST=$ROOT/.venv/bin/pytest
LANES=()

main() {
    local trouble
    cd "$ROOT"
    OUTPUT=$(mktemp -d)
    trap end EXIT
    "$HERE/venv.sh" dev
    if [[ ${1:-} == --quick ]]; then
        quick "${@:2}"
        return
    fi
    trouble=$(engine_trouble)
    if [[ -z $trouble ]]; then
        build_images_once
        side_by_side of_the_server of_the_application deployed in_production -- "$@"
        side_by_side with_a_browser with_many_clients at_its_limits -- "$@"
    else
        side_by_side server application the_rest -- "$@"
    fi
    summary
    if [[ -n $trouble ]]; then
        echo "NOT RUN: the tests in the image, and tests/stack (nginx, web, gunicorn, browser). $trouble"
    fi
    is_all_well
}

quick() {
    side_by_side processes_of_the_server other_than_that application_a_to_g application_h_to_z -- -m 'not slow' "$@"
    summary
    echo "NOT RUN: tests marked slow, the tests in the image, and tests/stack (nginx, web, gunicorn, browser): make test"
    is_all_well
}

# --- lanes ----------------------------------------------------------------------------------------------------

# Tests that wait for workers to start, end and drain.
WAITING=(tests/server/process tests/server/telemetry tests/server/test_overload.py)

processes_of_the_server() { part "server: processes" "$PYTEST" "${WAITING[@]}" "$@"; }

other_than_that() {
    part "server: all else" "$PYTEST" tests/server "${WAITING[@]/#/--ignore=}" "$@"
    the_rest "$@"
}

server() { part "server" "$PYTEST" tests/server "$@"; }
application() { part "application" "$PYTEST" tests/app "$@"; }
application_a_to_g() { part "application, a to g" "$PYTEST" "$ROOT"/tests/app/test_[a-g]*.py "$@"; }
application_h_to_z() { part "application, h to z" "$PYTEST" "$ROOT"/tests/app/test_[h-z]*.py "$@"; }
the_rest() { part "the rest" "$PYTEST" tests --ignore=tests/server --ignore=tests/app --ignore=tests/stack "$@"; }

of_the_server() {
    server "$@"
    part "server, in the image" in_image pytest -p no:cacheprovider tests/server tests/frameworks "$@"
}

of_the_application() {
    the_rest "$@"
    part "application, in the image" in_image pytest -p no:cacheprovider tests/uploadstack tests/app "$@"
    part "stack that is operated" "$PYTEST" "$ROOT"/tests/stack/operations/test_0[4-9]_*.py "$@"
}

deployed() {
    part "stack that is deployed" "$PYTEST" "$ROOT"/tests/stack/operations/test_0[123]_*.py "$@"
    part "stack with little room" "$PYTEST" tests/stack/low_resources "$@"
    part "stack with another project" "$PYTEST" tests/stack/adopted "$@"
}

in_production() { part "stack as in production" "$PYTEST" tests/stack/production "$@"; }

# One stack each: tests of uploads and pages, some with a browser; of settings, clients and headers; and those that wait for
# limits to be reached, with the largest bodies.
with_a_browser() { part "stack with a browser" "$PYTEST" "$ROOT"/tests/stack/test_0[1-68]*.py "$@"; }
with_many_clients() { part "stack with many clients" "$PYTEST" "$ROOT"/tests/stack/test_{1[0125],2}*.py "$@"; }
at_its_limits() { part "stack at its limits" "$PYTEST" "$ROOT"/tests/stack/test_{0[79],1[346789]}*.py "$@"; }

# Runs lanes side by side until all have ended: side_by_side LANE... -- ARGUMENTS-OF-PYTEST
side_by_side() {
    local lanes=()
    LANES=()
    while [[ $1 != -- ]]; do
        lanes+=("$1")
        shift
    done
    shift
    set -m  # a process group for each, so that it can be interrupted with all that it has started
    for lane in "${lanes[@]}"; do
        { trap 'exit 130' INT; "$lane" "$@"; } &
        LANES+=("$!")
    done
    set +m
    while kill -0 "${LANES[@]}" 2>/dev/null; do
        sleep 1
        show_what_is_over
        show_progress
    done
    show_what_is_over
    LANES=()
}

# Runs one part; a failure does not end the lane. Its output, status and seconds are files in OUTPUT.
part() {
    local name=$1 status=0 began=$SECONDS
    shift
    "$@" >"$OUTPUT/$name.log" 2>&1 </dev/null || status=$?
    printf '%s %s\n' "$status" "$((SECONDS - began))" >"$OUTPUT/$name.part"
    mv "$OUTPUT/$name.part" "$OUTPUT/$name.over"
}

# --- what is shown --------------------------------------------------------------------------------------------

show_what_is_over() {
    local over name
    for over in "$OUTPUT"/*.over; do
        [[ -f $over && ! -f ${over%.over}.shown ]] || continue
        : >"${over%.over}.shown"
        name=$(basename "$over" .over)
        say "tests $name"
        cat "${over%.over}.log"
    done
}

# Every half minute, a line with the progress that pytest reports.
show_progress() {
    local log line=''
    ((SECONDS % 30 == 0)) || return 0
    for log in "$OUTPUT"/*.log; do
        [[ ! -f $log || -f ${log%.log}.over ]] || line+="  $(basename "$log" .log): $(percent_of "$log")"
    done
    [[ -z $line ]] || printf '    %d:%02d %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$line" >&2
}

percent_of() { { grep -oE '\[ *[0-9]+%\]$' "$1" || echo "[0%]"; } | tail -n 1 | tr -d '[] '; }

summary() {
    local over name status seconds
    printf '\n'
    for over in "$OUTPUT"/*.over; do
        name=$(basename "$over" .over)
        read -r status seconds <"$over"
        printf '  %-7s %-32s %5d s   %s\n' "$(is_well "$status" && echo ok || echo FAILED)" "$name" "$seconds" \
            "$(closing_line "$OUTPUT/$name.log")"
    done
    total
}

# The last line of pytest: "=== 12 passed, 1 skipped in 3.21s ===", or with -q the same without the frame.
closing_line() { grep -E '^(=+ )?[0-9]+ [a-z]+.* in [0-9.]+s' "$1" | tail -n 1 | sed -e 's/=//g' -e 's/ in .*//' -e 's/^ *//'; }

total() {
    local word
    for word in passed failed error skipped; do
        declare "$word=$(cat "$OUTPUT"/*.log | grep -E '^(=+ )?[0-9]+ [a-z]+.* in [0-9.]+s' | grep -oE "[0-9]+ $word" | awk '{ n += $1 } END { print n + 0 }')"
    done
    # shellcheck disable=SC2154  # declared in the loop
    echo "total: $passed passed, $((failed + error)) failed, $skipped skipped, in $((SECONDS / 60)) min $((SECONDS % 60)) s"
}

is_all_well() {
    local over status
    for over in "$OUTPUT"/*.over; do
        read -r status _ <"$over"
        is_well "$status" || return 1
    done
}

# 5: no test matches the arguments.
is_well() { (($1 == 0 || $1 == 5)); }

# --- images ---------------------------------------------------------------------------------------------------

# Once, before the lanes: when the classic builder builds the same sources twice at the same time, it makes two images.
# The next build may find the other one, and then a deploy without changes would replace containers. After this build,
# every stack finds its images made, whatever its name.
build_images_once() {
    COMPOSE_PROFILES=$ALL_PROFILES "$HERE/images.sh"
    TEST_IMAGE=$(image_called test)
    say "building the images (the first time takes some minutes)"
    (build_test_image && build_stack_images) >"$OUTPUT/build" 2>&1 || {
        tail -n 40 "$OUTPUT/build" >&2
        die "the images could not be built"
    }
}

build_test_image() {
    PYTHON_IMAGE=$(setting PYTHON_IMAGE)
    NGINX_IMAGE=$(setting NGINX_IMAGE)
    export PYTHON_IMAGE NGINX_IMAGE
    load_images
    choose_builder
    docker build --target test --tag "$TEST_IMAGE" --build-arg PYTHON_IMAGE --build-arg NGINX_IMAGE .
}

STACK_IMAGES=uploadstack-tests-$$

build_stack_images() {
    "$HERE/env.sh" --output "$OUTPUT/env" COMPOSE_PROJECT_NAME="$STACK_IMAGES"
    ENV_FILE=$OUTPUT/env "$HERE/compose.sh" build
}

# Removes the names only; the next build still uses the layers.
forget_stack_images() {
    docker image ls --filter "reference=$STACK_IMAGES-*" --format '{{.Repository}}:{{.Tag}}' |
        xargs -r docker image rm --force --no-prune >/dev/null
}

# Restricted as compose.yaml restricts the application, and without a network but loopback.
in_image() {
    docker run --rm --init --read-only --tmpfs /tmp:size=512m,mode=1777 --tmpfs /tests/.hypothesis:mode=1777 --network none \
        --cap-drop ALL --security-opt no-new-privileges --user 10001:10001 "$TEST_IMAGE" "$@"
}

# After an interrupt, pytest first removes its stack.
end() {
    local lane
    for lane in "${LANES[@]+"${LANES[@]}"}"; do
        kill -INT -- "-$lane" 2>/dev/null || true
    done
    wait
    [[ ! -f $OUTPUT/env ]] || forget_stack_images
    rm -rf "$OUTPUT"
}

main "$@"
