# shellcheck shell=bash
# Settings that are sound one by one and cannot work together, or on this machine: sourced by what starts the stack, which
# refuses them before it touches anything, and by doctor.sh, which says the same. What nginx says of its own is asked of
# nginx/entrypoint.sh, which refuses it once more, and Django's of app/config/env.py: the container ends, and says why.
#
# Each function prints a line for what is wrong: the complaint, a tab, the remedy.

# Limits of compose.yaml (pids_limit): processes and threads. tests/test_limits.py compares.
WEB_PIDS=512
NGINX_PIDS=64
# A worker of web is a process with so many threads beside WEB_THREADS, one helper, and some short-lived children that decode
# pictures; and there is one more of them while one is replaced. By itself a container has its init, the parent, the
# process for health, and whoever is called into it.
WORKER_PIDS=8
CONTAINER_PIDS=16
# Measured: a worker with Django 60 to 80 MiB; decoding a large picture 430, and each of two small ones beside it 80.
WORKER_MIB=80
DECODING_MIB=590
# What nginx keeps of a request under way, at most, and what it takes by itself; and what a worker beyond the usual two
# takes, with its connections. docs/edge.md says of what that is made.
REQUEST_KIB=272
NGINX_KIB=$((48 * 1024))
NGINX_WORKER_KIB=$((4 * 1024))
# `make up` and `make deploy` wait for three minutes until all is healthy.
SLOWEST_HEALTH=120  # seconds

unfit() {
    unfit_numbers
    unfit_nginx
    unfit_choices
    unfit_processes
    unfit_memory
    unfit_ports
    unfit_places
    unfit_machine
}

refuse_unfit() {
    local complaint remedy count=0
    while IFS=$'\t' read -r complaint remedy; do
        count=$((count + 1))
        printf 'error: %s\n       -> %s\n' "$complaint" "$remedy" >&2
    done < <(unfit)
    ((count == 0)) || die "these settings do not fit; nothing was touched"
}

complain() { printf '%s\t%s\n' "$1" "$2"; }

# --- one by one -----------------------------------------------------------------------------------------------

unfit_numbers() {
    local name lowest highest
    while read -r name lowest highest; do
        is_number "$(setting "$name")" "$lowest" "$highest" ||
            complain "$name=$(setting "$name") is not a number from $lowest to $highest" "$name=$(default_of "$name") is the default"
    done << 'TABLE'
WEB_WORKERS 1 512
WEB_THREADS 1 512
WEB_REPLICAS 1 100
SWEEP_AGE 1 999999999
SWEEP_INTERVAL 1 999999999
TABLE
    for name in $(port_settings); do
        is_number "$(setting "$name")" 1 65535 || complain "$name=$(setting "$name") is not a port" "a number from 1 to 65535"
    done
    is_size "$(setting UPLOAD_MAX)" ||
        complain "UPLOAD_MAX=$(setting UPLOAD_MAX) is not a size" "digits and k, m or g, e.g. UPLOAD_MAX=100m"
    is_duration "$(setting HEALTH_INTERVAL)" ||
        complain "HEALTH_INTERVAL=$(setting HEALTH_INTERVAL) is not a time from 1s to ${SLOWEST_HEALTH}s" "digits and s or m, e.g. HEALTH_INTERVAL=5s"
}

is_number() { [[ $1 =~ ^(0|[1-9][0-9]{0,8})$ ]] && (($1 >= $2 && $1 <= $3)); }

default_of() { value_in "$ROOT/.env.example" "#$1"; }

is_duration() {
    local number=${1%[sm]}
    [[ $1 == *[sm] ]] && is_number "$number" 1 "$SLOWEST_HEALTH" || return 1
    [[ $1 != *m ]] || ((number * 60 <= SLOWEST_HEALTH))
}

# By the container's own check, with its limit of processes and not this machine's.
unfit_nginx() {
    local said name values=()
    for name in TLS $NGINX_SETTINGS; do
        values+=("$name=$(setting "$name")")
    done
    said=$(env "${values[@]}" PIDS_MAX="$NGINX_PIDS" sh "$ROOT/nginx/entrypoint.sh" --check 2>&1) ||
        complain "nginx does not take its new configuration: ${said#nginx: }" "set it in $ENV_FILE as .env.example says"
}

unfit_choices() {
    local name profile
    for name in DEBUG GALLERY_PUBLIC; do
        case $(setting "$name" | tr '[:upper:]' '[:lower:]') in
            true | 1 | yes | on | false | 0 | no | off) ;;
            *) complain "$name=$(setting "$name") is neither true nor false" "set $name=true or $name=false" ;;
        esac
    done
    for profile in $(setting COMPOSE_PROFILES | tr ',' ' '); do
        case $profile in
            demo | postgres | monitoring | prometheus) ;;
            *) complain "COMPOSE_PROFILES names $profile, which is not a profile" "there are demo, postgres, monitoring and prometheus" ;;
        esac
    done
    [[ $(database_kind) != postgresql ]] || has_profile postgres ||
        complain "DATABASE_URL names the database of this stack, and the profile postgres, which starts it, is off" \
            "set COMPOSE_PROFILES=postgres, or another DATABASE_URL"
}

# --- together -------------------------------------------------------------------------------------------------

unfit_processes() {
    local workers threads need
    workers=$(setting WEB_WORKERS) threads=$(setting WEB_THREADS)
    is_number "$workers" 1 512 && is_number "$threads" 1 512 || return 0
    need=$(((workers + 1) * (threads + WORKER_PIDS) + CONTAINER_PIDS))
    ((need <= WEB_PIDS)) || complain "WEB_WORKERS=$workers with WEB_THREADS=$threads may take $need processes and threads, and web and gunicorn may have $WEB_PIDS" \
        "lower one of them: (WEB_WORKERS + 1) * (WEB_THREADS + $WORKER_PIDS) has to be $((WEB_PIDS - CONTAINER_PIDS)) at most"
}

unfit_memory() {
    local name total need
    for name in WEB_MEMORY NGINX_MEMORY DB_MEMORY; do
        [[ -n $(mebibytes_of "$(setting "$name")") ]] ||
            complain "$name=$(setting "$name") is not an amount of memory" "digits and m or g, e.g. $name=$(default_of "$name")"
    done
    if is_number "$(setting WEB_WORKERS)" 1 512; then
        need=$(($(setting WEB_WORKERS) * WORKER_MIB + DECODING_MIB))
        has_less WEB_MEMORY "$need" &&
            complain "$(setting WEB_WORKERS) processes (WEB_WORKERS) and pictures that are decoded may take $need MiB of web, which has WEB_MEMORY=$(setting WEB_MEMORY)" \
                "set WEB_MEMORY=${need}m at least, or lower WEB_WORKERS"
    fi
    total=$(setting TOTAL_CONNECTIONS)
    if is_number "$total" 1 99999; then
        need=$(((total * REQUEST_KIB + NGINX_KIB + $(more_workers) * (NGINX_WORKER_KIB + total) + 1023) / 1024))
        has_less NGINX_MEMORY "$need" &&
            complain "$total requests under way (TOTAL_CONNECTIONS) may take $need MiB of nginx, which has NGINX_MEMORY=$(setting NGINX_MEMORY)" \
                "set NGINX_MEMORY=${need}m at least, or lower TOTAL_CONNECTIONS"
    fi
    return 0
}

# Beyond two.
more_workers() {
    local workers
    workers=$(setting NGINX_WORKERS)
    if is_number "$workers" 3 512; then echo $((workers - 2)); else echo 0; fi
}

has_less() {
    local mebibytes
    mebibytes=$(mebibytes_of "$(setting "$1")")
    [[ -n $mebibytes ]] && ((mebibytes < $2))
}

# As the engine reads it, in whole MiB: 768m, 1.5g, 512MB, 805306368. Nothing if it does not.
mebibytes_of() {
    awk -v said="$1" 'BEGIN {
        said = tolower(said)
        if (said !~ /^[0-9]+(\.[0-9]+)?(b|[kmgt](i?b)?)?$/) exit
        unit = said; gsub(/[0-9.]/, "", unit); unit = substr(unit, 1, 1)
        power = index("kmgt", unit); if (unit == "" || unit == "b") power = 0
        printf "%d", said * 1024 ^ power / 1048576
    }'
}

unfit_ports() {
    local name place other seen=' '
    for name in $(port_settings); do
        place=$(interface_of "$name"):$(setting "$name")
        if [[ $seen == *" $place="* ]]; then
            other=${seen#*" $place="}
            complain "$name and ${other%% *} are the same port, $(setting "$name")" "set another $name"
        fi
        seen+="$place=$name "
    done
}

# Where it is published: on loopback (or on all, which is there as well), or on another address.
interface_of() {
    local bind
    bind=$(setting BIND_ADDRESS)
    case $1:$bind in
        HTTP_PORT:127.0.0.1 | HTTPS_PORT:127.0.0.1 | HTTP_PORT:0.0.0.0 | HTTPS_PORT:0.0.0.0) echo local ;;
        HTTP_PORT:*::* | HTTPS_PORT:*::*) echo local ;;
        HTTP_PORT:* | HTTPS_PORT:*) echo "$bind" ;;
        *) echo local ;;
    esac
}

# Each belongs to another user.
unfit_places() {
    [[ $(setting NGINX_SPOOL) != "$(setting WEB_SPOOL)" ]] ||
        complain "NGINX_SPOOL and WEB_SPOOL are the same place, $(setting WEB_SPOOL)" "give each its own: they belong to different users"
}

# --- on this machine ------------------------------------------------------------------------------------------

unfit_machine() {
    local cpus name names='WEB_CPUS NGINX_CPUS'
    cpus=$(docker info --format '{{.NCPU}}' 2>/dev/null) || return 0
    ! has_profile postgres || names+=' DB_CPUS'
    for name in $names; do
        awk -v asked="$(setting "$name")" -v there="$cpus" 'BEGIN { exit !(asked ~ /^[0-9]*\.?[0-9]+$/ && asked > 0 && asked + 0 <= there + 0) }' ||
            complain "$name=$(setting "$name") is not what this machine can give, which has $cpus CPUs" "set $name to more than 0 and at most $cpus"
    done
}
