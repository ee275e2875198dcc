#!/usr/bin/env bash
# A new version in the place of the one that runs, and no request lost: what `make deploy` runs. docs/operations.md
#
#   build  ->  nginx takes its configuration, the application can be loaded  ->  migrate
#          ->  new containers of web beside the old ones  ->  healthy, and found by nginx
#          ->  the old ones are told to stop, finish what they have, and go  ->  gunicorn likewise  ->  the rest
#
# Only what changed is replaced. Cut short at any point, it goes on from there when it is run again. Should the new
# containers not become well, they go, and the old ones have never stopped.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/fit.sh
source "$ROOT/scripts/fit.sh"
HERE=$ROOT/scripts
CHANGED=0
LOOKED_UP_AFTER=4  # seconds until nginx has looked each name up once more: twice `valid` of upstreams.conf.template

main() {
    # --- looks -------------------------------------------------------------------------------------------
    need_engine
    ! compose_is_too_old || die "Compose $(compose_version) is too old: it takes 2.22 or newer, or 1.29"
    [[ -f $ENV_FILE && -n $(containers_of web --filter status=running; containers_of nginx --filter status=running) ]] ||
        die "nothing runs that could be replaced; run: make up"
    hold_lock 0
    refuse_unfit
    refuse_taken_ports

    # --- touches -----------------------------------------------------------------------------------------
    "$HERE/images.sh"
    say "building the images (only what changed)"
    or_stop "the images could not be built" "$HERE/compose.sh" build
    try_out_new
    HASHES=$("$HERE/compose.sh" config --hash '*')
    start_database
    or_stop "the application's role in the database could not be made an ordinary one" "$HERE/role.sh"
    migrate || die "the database could not be migrated; what runs goes on as it was"
    roll web "$(setting WEB_REPLICAS)" 8080
    roll gunicorn 1 8081
    update_the_rest
    if ((CHANGED > 0)); then
        say "deployed"
    else
        say "nothing had changed: everything runs as before"
    fi
}

# A stack that had another one until now has none of its own yet.
start_database() {
    has_profile postgres && [[ -z $(containers_of db --filter status=running) ]] || return 0
    or_stop "the database could not be started" "$HERE/compose.sh" up -d --no-deps db
}

# --- one service, container by container ----------------------------------------------------------------------

# `roll SERVICE COUNT PORT`: COUNT containers of what was built, none of what was before. PORT is nginx's for it.
roll() {
    local service=$1 count=${2:-1} port=$3 container all=0 new=() old=() before wanted
    remove_ended "$service"
    wanted=$(settings_of "$service")
    for container in $(containers_of "$service"); do
        all=$((all + 1))
        # Those above the count go as well.
        if is_current "$container" "$wanted" && ((${#new[@]} < count)); then new+=("$container"); else old+=("$container"); fi
    done
    if ((${#new[@]} == count && ${#old[@]} == 0)); then
        say "$service: nothing changed"
        return
    fi
    CHANGED=$((CHANGED + 1))
    before=$(containers_of "$service")
    if ((${#new[@]} < count)); then
        say "$service: starting $((count - ${#new[@]})) new, beside $all"
        quietly "$HERE/compose.sh" up -d --no-deps --no-recreate --scale "$service=$((all + count - ${#new[@]}))" "$service" ||
            warn "$service: Compose did not start all of them"
        for container in $(containers_of "$service"); do
            [[ $before == *"$container"* ]] || new+=("$container")
        done
    fi
    if ((${#new[@]} < count)) || ! take_over "$service" "$port" "${new[@]}"; then
        abandon "$service" "$before" "${#old[@]}" ${new[@]+"${new[@]}"}
    fi
    for container in ${old[@]+"${old[@]}"}; do
        let_go "$service: the old one finishes what it has" "$container"
        let_nginx_forget
    done
}

# Where a container has gone nginx turns to its address for two more seconds (upstreams.conf.template). Until then the next
# must not go: a streamed upload is tried on two addresses, of which one has to be there. And that address, which is free,
# must not become the one of a new container of another service: it would get uploads of this one.
let_nginx_forget() { [[ -z $(containers_of nginx --filter status=running) ]] || sleep "$LOOKED_UP_AFTER"; }

# Compose would count them, and start them again.
remove_ended() {
    local container
    for container in $(containers_of "$1" --filter status=exited --filter status=created --filter status=dead); do
        docker rm "$container" >/dev/null
    done
}

# As a hash, which Compose notes on each container. HASHES has "SERVICE HASH" in each line.
settings_of() { awk -v service="$1" '$1 == service { print $2 }' <<< "$HASHES"; }

# What Compose would make now: with these settings, and of the image that has the name now.
is_current() {
    local image now
    image=$(docker inspect -f '{{.Config.Image}}' "$1")
    now=$(docker image inspect -f '{{.Id}}' "$image" 2>/dev/null || true)
    [[ $(docker inspect -f '{{index .Config.Labels "com.docker.compose.config-hash"}} {{.Image}}' "$1") == "$2 $now" ]]
}

take_over() {
    local service=$1 port=$2
    shift 2
    patiently "$service to become healthy" 180 are_healthy "$@" || return 1
    [[ -n $(containers_of nginx --filter status=running) ]] || return 0
    patiently "nginx to find the new $service" 60 are_found "$port" "$@" || return 1
    # It has a second list, for what is asked again, and looks its names up at another time.
    sleep "$LOOKED_UP_AFTER"
}

# Whether nginx has a connection to each of them: it keeps those it has used. A request of our own makes it use one.
are_found() {
    local port=$1 container known nginx
    shift
    nginx=$(containers_of nginx --filter status=running)
    known=$(docker exec "$nginx" sh -c "$ASK_NGINX" sh "$port") || return 1
    for container in "$@"; do
        grep -qE "$(hexadecimal "$(address_in_network "$container")"):1F40 0[1-9A-B]" <<< "$known" || return 1
    done
}

# Run in nginx's container, by whose own settings it goes: the new ones may have another TLS, or other names. Several
# requests, because they go to one container after the other, and others have some of them.
# shellcheck disable=SC2016  # they are variables there
ASK_NGINX='
    host=${ALLOWED_HOSTS%%,*}
    [ "$host" != "*" ] || host=localhost
    case $TLS:$1 in
        on:8080) url=https://127.0.0.1:8443 ;;
        on:*) url=https://127.0.0.1:$1 ;;
        *) url=http://127.0.0.1:$1 ;;
    esac
    for try in 1 2 3 4 5 6 7 8; do
        curl -sk -o /dev/null --noproxy "*" -m 5 -H "Host: ${host#.}" "$url/healthz"
    done
    cat /proc/net/tcp'

address_in_network() {
    docker inspect -f '{{range $name, $network := .NetworkSettings.Networks}}{{$name}} {{$network.IPAddress}}{{"\n"}}{{end}}' "$1" |
        awk '$1 ~ /_inside$/ { print $2 }'
}

# 172.18.0.5 as /proc/net/tcp has it: 050012AC.
hexadecimal() {
    local a b c d
    IFS=. read -r a b c d <<< "$1"
    printf '%02X%02X%02X%02X' "$d" "$c" "$b" "$a"
}

# Those that were there before go on; but where $3 old ones serve, one that an earlier deploy, cut short, has
# left need not, if it is not well either.
abandon() {
    local service=$1 before=$2 serving=$3 container
    shift 3
    show_logs "$@"
    for container in "$@"; do
        if [[ $before != *"$container"* ]] || { ((serving > 0)) && ! are_healthy "$container"; }; then
            let_go "$service: what was started goes again" "$container"  # some may be well, and have requests
        fi
    done
    die "the new $service did not become well: what it said is above. It is gone again, and the old one goes on." \
        "Mend it and deploy again; make up would start what is broken"
}

# `let_go WHY CONTAINER`: it takes no more connections, finishes what it has, for up to stop_grace_period, and is gone.
let_go() {
    local container=$2 stopping
    say "$1 ($(docker inspect -f '{{.Name}}' "$container" | tr -d /))"
    docker stop "$container" >/dev/null &
    stopping=$!
    patiently "its last requests" 120 has_finished "$stopping" || true
    docker rm --force "$container" >/dev/null
}

has_finished() { ! kill -0 "$1" 2>/dev/null; }

# --- the rest -------------------------------------------------------------------------------------------------

# What `make up` would do, so that it finds nothing left to do. A port can only be published by one container: a nginx
# that changed is stopped, and the new one started. In between, for a second or as long as the uploads in it take (at most
# stop_grace_period), clients are refused.
update_the_rest() {
    local services service container before
    read -r -d '' -a services < <(the_rest) || true
    for service in "${services[@]}"; do
        for container in $(containers_of "$service"); do
            is_current "$container" "$(settings_of "$service")" ||
                say "$service: changed, and is replaced: it does not answer for a moment"
        done
    done
    before=$(all_of "${services[@]}")
    quietly "$HERE/compose.sh" up -d --no-deps --remove-orphans "${services[@]}" || die "not all of it started: why is above; see also: make ps"
    if [[ $before != "$(all_of "${services[@]}")" ]]; then
        CHANGED=$((CHANGED + 1))
    fi
    # shellcheck disable=SC2046  # one id a line
    if ! patiently "all to be healthy" 180 are_healthy $(all_of "${services[@]}"); then
        show_logs $(all_of "${services[@]}")
        die "not all of it became healthy; see: make ps"
    fi
}

all_of() {
    local service
    for service in "$@"; do
        containers_of "$service"
    done
}

# The services that are neither rolled nor one-shot, without those of which all profiles are off: 1.29 lists them, too.
the_rest() {
    "$HERE/compose.sh" config | awk -v on=",$(load_images && setting COMPOSE_PROFILES)," '
        function tell() { if (name && (!bound || wanted)) print name; name = "" }
        /^[a-z]/ { tell(); services = ($1 == "services:") }
        services && /^  [a-z]/ { tell(); name = $1; sub(":", "", name); profiles = bound = wanted = 0 }
        services && /^    [a-z]/ { profiles = ($1 == "profiles:") }
        profiles && $1 == "-" { bound = 1; if (index(on, "," $2 ",")) wanted = 1 }
        END { tell() }' | grep -vxE 'web|gunicorn|migrate'
}

main
