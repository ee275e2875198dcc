#!/usr/bin/env bash
# Looks for the usual troubles and says what to do about each. Changes nothing. Fails if something is wrong.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/fit.sh
source "$ROOT/scripts/fit.sh"

PROBLEMS=0
FEW_UPLOADS=4  # of the largest size: as many at a time are no rush
CERTIFICATE_DAYS=21
SHORTEST_AGE=120  # seconds: twice what web gives the application

main() {
    look_at_settings
    look_at_fit
    look_at_clock
    look_at_python
    if look_at_engine; then
        look_at_images
        look_at_containers
        look_at_database
        look_at_volumes
        look_at_library
        look_at_spools
        look_at_certificate
        look_at_disk "$(docker info --format '{{.DockerRootDir}}')"
    else
        look_at_disk "$ROOT"
    fi
    look_at_ports
    echo
    if ((PROBLEMS > 0)); then
        echo "$PROBLEMS to look at."
        exit 1
    fi
    echo "Nothing wrong that this can see."
}

fine() { printf '  ok       %s\n' "$1"; }
note() { printf '  note     %s\n' "$1"; }
# What is wrong, and the remedy.
problem() {
    PROBLEMS=$((PROBLEMS + 1))
    printf '  PROBLEM  %s\n           -> %s\n' "$1" "$2"
}

# --- settings -------------------------------------------------------------------------------------------------

look_at_settings() {
    local mode name before=$PROBLEMS
    if [[ ! -f $ENV_FILE ]]; then
        note "no $ENV_FILE yet; make up writes it"
        return
    fi
    mode=$(stat -c %a "$ENV_FILE" 2>/dev/null || stat -f %Lp "$ENV_FILE")
    [[ $mode == *00 ]] || problem "others on this machine may read $ENV_FILE (mode $mode)" "chmod 600 $ENV_FILE"
    while read -r name; do
        is_required "$name" || continue
        case $(value_in "$ENV_FILE" "$name") in
            '') problem "$name has no value in $ENV_FILE" "add $name=...; .env.example says what it is" ;;
            change-me) problem "$name is still the placeholder" "replace change-me in $ENV_FILE, e.g. with what this prints: openssl rand -hex 32" ;;
        esac
    done < <(sed -n 's/^\([A-Z_]*\)=.*/\1/p' "$ROOT/.env.example")
    ((PROBLEMS > before)) || fine "settings: $ENV_FILE"
}

# What make up would refuse, and what it lets pass.
look_at_fit() {
    local complaint remedy before=$PROBLEMS
    while IFS=$'\t' read -r complaint remedy; do
        problem "$complaint" "$remedy"
    done < <(unfit)
    ! is_number "$(setting SWEEP_AGE)" 1 $((SHORTEST_AGE - 1)) ||
        note "SWEEP_AGE=$(setting SWEEP_AGE): an upload that Django takes longer for may be swept away under its hands; $SHORTEST_AGE is safe"
    ((PROBLEMS > before)) || fine "settings: they fit together"
}

# --- this machine ---------------------------------------------------------------------------------------------

# Wrong clocks expire tokens and sessions. Nothing here was written in the future; a virtual machine's clock, which
# Docker Desktop has, can drift from the host's.
look_at_clock() {
    local now after newest served
    now=$(date +%s)
    newest=$(git -C "$ROOT" log -1 --format=%ct 2>/dev/null || echo 0)
    if ((newest > now + 300)); then
        problem "the clock says $(date), but the last commit is from later" "set the clock (timedatectl set-ntp true)"
        return
    fi
    served=$({ docker exec "$(first_of nginx)" date +%s; } 2>/dev/null) || served=$now
    after=$(date +%s)
    if ((served > after + 5 || served < now - 5)); then
        problem "the containers' clock is $((served - now)) seconds from this machine's" "restart Docker"
    else
        fine "clock: $(date)"
    fi
}

look_at_python() {
    local python
    if python=$(find_python ""); then
        fine "Python for make test and make dev: $("$python" --version)"
    else
        note "no Python 3.11 or newer with venv: make up does without, make test and make dev do not"
    fi
}

# --- the engine -----------------------------------------------------------------------------------------------

look_at_engine() {
    local trouble
    trouble=$(engine_trouble)
    if [[ -n $trouble ]]; then
        problem "$trouble" "until then: make dev runs the application without containers"
        return 1
    fi
    fine "engine: Docker $(docker version --format '{{.Server.Version}}'), $(compose_command) $(compose_version)"
    docker buildx version >/dev/null 2>&1 || note "no buildx: images are built by the classic builder"
    ! compose_is_too_old || problem "Compose $(compose_version) is too old" "install docker-compose-plugin 2.22 or newer, or docker-compose 1.29"
}

look_at_images() {
    local name image in_place_of created age
    [[ -f $ROOT/.images ]] || return 0
    while read -r name image in_place_of; do
        created=$(docker image inspect --format '{{.Created}}' "$image" 2>/dev/null) || continue
        age=$((($(date +%s) - $(date -d "$created" +%s 2>/dev/null || date +%s)) / 86400))
        if ((age > 30)); then
            problem "$image, which stands in for $in_place_of, is $age days old: no security fixes since" \
                "docker image rm $image && make up"
        else
            note "$image stands in for $in_place_of; to ask the registry again: scripts/images.sh --retry"
        fi
    done < <(grep -v '^#' "$ROOT/.images")
}

look_at_containers() {
    local service state restarts before=$PROBLEMS running=0
    [[ -f $ENV_FILE ]] || return 0
    while read -r service state restarts; do
        running=$((running + 1))
        case $state in
            healthy | done) ;;
            *) problem "$service is $state (restarted $restarts times)" "make logs S=$service" ;;
        esac
    done < <("$ROOT/scripts/states.sh")
    ((running > 0)) || note "the stack does not run"
    ((running == 0 || PROBLEMS > before)) || fine "containers: $running, all well"
}

# An earlier version gave the application the superuser, who can run programs in the database's container.
look_at_database() {
    [[ -n $(first_of db) ]] && postgres pg_isready --quiet --host=127.0.0.1 >/dev/null 2>&1 || return 0
    if [[ $(superuser) == uploads ]]; then
        problem "the application is superuser of the database: an earlier version made it so" "make deploy (or make up) mends that"
    else
        fine "database: the application has an ordinary role"
    fi
}

# A volume that another user made cannot be written to. The certificate may be somebody else's, if nginx can read it.
look_at_volumes() {
    local before=$PROBLEMS
    check_volume media 10001 /srv/media runtime
    check_volume data 10001 /srv/data runtime
    check_volume "$(setting WEB_SPOOL)" 10001 /var/spool/wsgiserver runtime
    check_volume "$(setting NGINX_SPOOL)" 10002 /var/spool/nginx edge
    # shellcheck disable=SC2016  # that is for the container's shell
    check_volume "$(setting TLS_FOLDER)" 10002 /srv/certificates edge \
        'cd "$1" && if test -e fullchain.pem || test -e privkey.pem; then test -r fullchain.pem && test -r privkey.pem; else test -w .; fi'
    check_volume postgres 999 /var/lib/postgresql postgres
    ((PROBLEMS > before)) || fine "volumes: their users can write to them, or they are not made yet"
}

# `check_volume VOLUME USER PLACE IMAGE [TEST]`, where VOLUME may be a folder of this machine.
check_volume() {
    # shellcheck disable=SC2016
    local volume image status=0 user=$2 place=$3 test=${5:-'test -w "$1"'}
    volume=$(volume_named "$1") && image=$(image_named "$4") || return 0
    docker run --rm --network none --user "$user:$user" --entrypoint sh -v "$volume:$place" "$image" -c "$test" sh "$place" >/dev/null 2>&1 || status=$?
    # From 125 on it is the engine that could not: what it could not is for others to find.
    ((status == 0 || status >= 125)) ||
        problem "user $user cannot use the volume $volume" \
            "docker run --rm --user 0 --entrypoint chown -v $volume:$place $image -R $user:$user $place"
}

# As the engine knows it; fails if it does not exist.
volume_named() {
    local name=$1
    case $name in
        /*) ;;
        ./* | ../*) name=$ROOT/$name ;;
        *)
            name=$(setting COMPOSE_PROJECT_NAME)_$name
            docker volume inspect "$name" >/dev/null 2>&1 && echo "$name"
            return
            ;;
    esac
    [[ -d $name ]] && echo "$name"
}

image_named() {
    local image
    image=uploadstack-$1:$(setting IMAGE_TAG)
    [[ $1 != postgres ]] || image=$(load_images && setting POSTGRES_IMAGE)
    docker image inspect "$image" >/dev/null 2>&1 && echo "$image"
}

# Each upload lies whole in nginx's spool while it is received, and then in web's. What does not fit is refused: 507.
look_at_spools() {
    check_spool NGINX_SPOOL /var/spool/nginx edge
    check_spool WEB_SPOOL /var/spool/wsgiserver runtime
}

check_spool() {
    local name=$1 place=$2 volume image free largest fits
    is_size "$(setting UPLOAD_MAX)" && volume=$(volume_named "$(setting "$name")") && image=$(image_named "$3") || return 0
    free=$(docker run --rm --network none --user 0 --entrypoint df -v "$volume:$place" "$image" -Pk "$place" 2>/dev/null | awk 'END { if (NR) printf "%.0f", $4 * 1024 }') || return 0
    largest=$(bytes_of "$(setting UPLOAD_MAX)")
    fits=$((free / largest))
    if ((fits < FEW_UPLOADS)); then
        problem "$name ($volume) has $((free / MIB)) MiB free: $fits uploads of UPLOAD_MAX=$(setting UPLOAD_MAX) at a time, the next gets 507" \
            "make room, give it a larger volume (docs/operations.md), or lower UPLOAD_MAX"
    elif ((fits < $(setting CLIENT_CONNECTIONS))); then
        note "$name has room for $fits uploads of UPLOAD_MAX at a time; one address alone may send $(setting CLIENT_CONNECTIONS) (CLIENT_CONNECTIONS)"
    else
        fine "$name: $((free / GIB)) GiB free, room for $fits uploads of UPLOAD_MAX at a time, of $(setting TOTAL_CONNECTIONS) (TOTAL_CONNECTIONS) at most"
    fi
}

# The one in use. One that nginx made itself is renewed when nginx starts.
look_at_certificate() {
    local volume image said
    [[ $(setting TLS) == on ]] || return 0
    volume=$(volume_named "$(setting TLS_FOLDER)") && image=$(image_named edge) || return 0
    # shellcheck disable=SC2016  # those are for the container's shell
    said=$(docker run --rm --network none --user 10002:10002 --entrypoint sh -v "$volume:/srv/certificates:ro" "$image" -c \
        'cd /srv/certificates; test -e fullchain.pem && file=fullchain.pem || file=self-signed.pem
        openssl x509 -in "$file" -noout -enddate -checkend "$1"' sh $((CERTIFICATE_DAYS * 86400)) 2>/dev/null) || true
    case $said in
        *'will expire'*)
            problem "the certificate in TLS_FOLDER is not good for $CERTIFICATE_DAYS more days: $(head -n 1 <<< "$said")" \
                "put a new one there (not for a self-signed one), then: scripts/compose.sh restart nginx" ;;
        notAfter=*) fine "certificate: good until $(sed -n 's/^notAfter=//p' <<< "$said")" ;;
    esac
}

# Files that no row knows are swept, but only where that database can show that the files are its own.
look_at_library() {
    local web said
    web=$(first_of web) && [[ -n $web ]] || return 0
    said=$(docker exec "$web" python manage.py adopt_media 2>&1) && fine "photos: $(paste -sd ' ' - <<< "$said")" && return
    case $said in
        *'published files'*)
            problem "photos and database do not show that they belong together, so nothing is swept: $(paste -sd ' ' - <<< "$said")" \
                "is DATABASE_URL right, and the volume? If they do: docker exec $web python manage.py adopt_media --yes" ;;
    esac
}

# --- disk and ports -------------------------------------------------------------------------------------------

# An upload lies in nginx's spool, then in the server's, then among the photos; and several come at a time.
look_at_disk() {
    local folder=$1 free need
    is_size "$(setting UPLOAD_MAX)" || return 0
    [[ -d $folder ]] || folder=$ROOT
    free=$(($(df -Pk "$folder" | awk 'NR == 2 { print $4 }') * 1024))
    need=$((3 * FEW_UPLOADS * $(bytes_of "$(setting UPLOAD_MAX)") + 2 * GIB))
    if ((free < need)); then
        problem "$((free / GIB)) GiB free under $folder; $FEW_UPLOADS largest uploads at a time and the images take $((need / GIB)) GiB" \
            "make room (docker system df shows what Docker holds), or lower UPLOAD_MAX"
    else
        fine "disk: $((free / GIB)) GiB free under $folder"
    fi
}

look_at_ports() {
    local name port holder before=$PROBLEMS
    for name in $(port_settings); do
        port=$(setting "$name")
        holder=$(stranger_on "$port")
        [[ -z $holder || $holder == "process $(dev_pid || true) "* ]] ||
            problem "port $port is taken by $holder" "stop that, or set another $name in $ENV_FILE"
    done
    ((PROBLEMS > before)) || fine "ports: those of the settings are free, or ours"
}

main
