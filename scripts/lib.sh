# shellcheck shell=bash
# What the scripts share: how they speak, where settings come from, and whether there is an engine. Sourced, not run.
# Written for bash 3.2 and later, because that is what macOS has.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ENV_FILE=${ENV_FILE:-$ROOT/.env}
[[ $ENV_FILE == /* ]] || ENV_FILE=$PWD/$ENV_FILE

# --- speaking: progress and complaints go to stderr, so that stdout is the answer alone -----------------------

say() { printf '==> %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# The interpreter to make an environment with: what PYTHON names, or else the first of these that will do, $1 before them.
find_python() {
    local candidate
    for candidate in ${PYTHON:-${1:-} python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# --- settings -------------------------------------------------------------------------------------------------

# The value that Compose will use for NAME: environment, then .env; where that is empty, the default, which
# .env.example shows.
setting() {
    local name=$1 value
    if [[ -n ${!name+set} ]]; then
        value=${!name}
    else
        value=$(value_in "$ENV_FILE" "$name" 2>/dev/null || true)
    fi
    [[ -n $value ]] || value=$(value_in "$ROOT/.env.example" "#$name")
    printf '%s\n' "$value"
}

# For what has to reach every service: Compose does not see those whose profile is off.
# shellcheck disable=SC2034  # for those who source this
ALL_PROFILES=demo,postgres,monitoring

# What nginx/entrypoint.sh looks at, but for TLS.
# shellcheck disable=SC2034  # for those who source this
NGINX_SETTINGS='HTTPS_PORT UPLOAD_MAX ANONYMOUS_UPLOADS LOGIN_RATE NGINX_WORKERS CLIENT_CONNECTIONS TOTAL_CONNECTIONS ALLOWED_HOSTS TRUSTED_PROXIES'

# Whether a profile of compose.yaml is on.
has_profile() { [[ ,$(setting COMPOSE_PROFILES), == *,$1,* ]]; }

# A line of .env that nothing reads while its profile is off may be missing: a file from an older version lacks it.
is_required() { [[ $1 != GRAFANA_PASSWORD ]] || has_profile monitoring; }

# As both generations of Compose read it: NAME=value, perhaps after blanks or `export`, and with blanks around the sign;
# what is in quotes; or else without blanks, and a comment after one.
value_in() {
    sed -n -e "s/^ *\(export  *\)\{0,1\}$2 *=//p" "$1" | tail -n 1 |
        sed -e 's/^"\([^"]*\)".*/\1/' -e t -e "s/^'\([^']*\)'.*/\1/" -e t -e 's/^ *//' -e 's/ #.*//' -e 's/ *$//'
}

# The address a person on this machine would type for what listens on the port NAME: 0.0.0.0 is not one. With TLS=on the
# site is on HTTPS_PORT. What is there to compare with is on 127.0.0.1 alone.
address_of() {
    local name=$1 scheme=http host port
    if [[ $(setting TLS) == on && $name != RUNSERVER_PORT ]]; then
        scheme=https
        [[ $name != HTTP_PORT ]] || name=HTTPS_PORT
    fi
    host=$(setting BIND_ADDRESS)
    case $name in GUNICORN_PORT | RUNSERVER_PORT) host=127.0.0.1 ;; esac
    case $host in
        0.0.0.0) host=127.0.0.1 ;;
        '[::]' | ::) host='[::1]' ;;
    esac
    port=:$(setting "$name")
    case $scheme$port in http:80 | https:443) port='' ;; esac
    printf '%s://%s%s' "$scheme" "$host" "$port"
}

# --- sizes ----------------------------------------------------------------------------------------------------

KIB=1024
MIB=$((1024 * KIB))
GIB=$((1024 * MIB))

# What nginx, the server and Django take for one.
is_size() { [[ $1 =~ ^[1-9][0-9]*[kmgKMG]?$ ]]; }

bytes_of() {
    local digits=${1%[kmgKMG]}
    case $1 in
        *[kK]) echo $((digits * KIB)) ;;
        *[mM]) echo $((digits * MIB)) ;;
        *[gG]) echo $((digits * GIB)) ;;
        *) echo "$digits" ;;
    esac
}

# --- the engine -----------------------------------------------------------------------------------------------

# Why containers cannot be used here, with the remedy, in one line; nothing if they can.
engine_trouble() {
    local said
    if ! has docker; then
        echo "Docker is not installed (to get it: https://docs.docker.com/engine/install/)"
    elif ! said=$(bounded 20 docker version --format '{{.Server.Version}}' 2>&1); then
        case $said in
            *'permission denied'*)
                echo "you may not use Docker's socket (sudo usermod -aG docker $(id -un), then log in again)" ;;
            *)
                echo "Docker is installed but its engine does not answer (sudo systemctl start docker, or open Docker Desktop)" ;;
        esac
    elif [[ -z $(compose_command) ]]; then
        echo "Docker is there but Compose is not (install docker-compose-plugin, docker-compose-v2 or docker-compose)"
    fi
}

need_engine() {
    local trouble
    trouble=$(engine_trouble)
    [[ -z $trouble ]] || die "$trouble"
}

# `docker compose` (v2) or `docker-compose` (1.29); COMPOSE overrides.
compose_command() {
    if [[ -n ${COMPOSE:-} ]]; then
        echo "$COMPOSE"
    elif docker compose version >/dev/null 2>&1; then
        echo "docker compose"
    elif has docker-compose; then
        echo "docker-compose"
    fi
}

compose_version() { $(compose_command) version --short 2>/dev/null; }

# Before 1.29 it cannot read compose.yaml. Before 2.22 what `config --hash` prints is not what `up` notes on a container
# (docker/compose#11010), and deploy compares the two.
compose_is_too_old() { [[ $(compose_version) =~ ^v?(1\.(1?[0-9]|2[0-8])|2\.(1?[0-9]|2[01]))(\.|$) ]]; }

# The classic builder where there is no buildx to drive the other one.
choose_builder() {
    [[ -n ${DOCKER_BUILDKIT:-} ]] || docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0 COMPOSE_BAKE=false
}

# Base images as scripts/images.sh found them: `NAME IMAGE IN_PLACE_OF` in each line, good while that is still wanted.
# Where IMAGE is none, nothing can take its place: of the profile monitoring the part without Grafana is left.
load_images() {
    local name image in_place_of profiles
    [[ -f $ROOT/.images ]] || return 0
    profiles=$(setting COMPOSE_PROFILES | sed 's/monitoring/prometheus/')
    while read -r name image in_place_of; do
        [[ $(setting "$name") == "$in_place_of" ]] || continue
        if [[ $image == none ]]; then
            ! has_profile monitoring || export COMPOSE_PROFILES="$profiles"
        else
            export "$name=$image"
        fi
    done < <(grep -v '^#' "$ROOT/.images")
}

# A command with a time limit, where the system has one to offer (macOS does not).
bounded() {
    local seconds=$1
    shift
    if has timeout; then timeout "$seconds" "$@"; else "$@"; fi
}

# `quietly COMMAND`: what it says is only of interest if it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null || status=$?
    ((status == 0)) || tail -n 40 "$log" >&2
    rm -f "$log"
    return "$status"
}

# --- ports ----------------------------------------------------------------------------------------------------

# The settings of all that will be published.
port_settings() {
    echo HTTP_PORT HTTPS_PORT GUNICORN_PORT
    ! has_profile demo || echo RUNSERVER_PORT
    ! { has_profile monitoring || has_profile prometheus; } || echo PROMETHEUS_PORT
    ! has_profile monitoring || echo GRAFANA_PORT
}

refuse_taken_ports() {
    local name port holder
    for name in $(port_settings); do
        port=$(setting "$name")
        holder=$(stranger_on "$port")
        [[ -z $holder ]] || die "port $port is taken by $holder; stop that, or set another $name in $ENV_FILE"
    done
}

# Who has PORT, unless nobody has, or a container of this stack.
stranger_on() {
    is_taken "$1" || return 0
    [[ -n $(docker ps --quiet --filter "publish=$1" --filter "label=com.docker.compose.project=$(setting COMPOSE_PROJECT_NAME)" 2>/dev/null) ]] ||
        holder_of "$1"
}

# Whether something listens on PORT of this machine.
is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Who that is, as well as this user may know.
holder_of() {
    local name=''
    ! has docker || name=$(docker ps --filter "publish=$1" --format 'container {{.Names}}' 2>/dev/null | head -n 1)
    if [[ -z $name ]] && has ss; then
        name=$(ss -Hltnp "sport = :$1" 2>/dev/null | sed -n 's/.*users:((\("[^"]*"\),pid=\([0-9]*\).*/process \2 (\1)/p' | head -n 1)
    fi
    if [[ -z $name ]] && has lsof; then
        name=$(lsof -nP -iTCP:"$1" -sTCP:LISTEN 2>/dev/null | awk 'NR == 2 { print "process " $2 " (" $1 ")" }')
    fi
    echo "${name:-something of another user}"
}

# --- the server without an engine (scripts/dev.sh) -----------------------------------------------------------

# One for each port, so that two settings files are two servers.
dev_file() { echo "$ROOT/var/dev-$(setting HTTP_PORT).$1"; }

# Its process id; fails if it does not run.
dev_pid() {
    local pid
    pid=$(cat "$(dev_file pid)" 2>/dev/null) || return 1
    kill -0 "$pid" 2>/dev/null && ps -o args= -p "$pid" | grep -q wsgiserver && echo "$pid"
}

# --- what changes a running stack -----------------------------------------------------------------------------

# The containers of a service, running or not; one-off ones (`compose run`) are not the service's.
containers_of() {
    docker ps --all --quiet --no-trunc --filter "label=com.docker.compose.project=$(setting COMPOSE_PROJECT_NAME)" \
        --filter "label=com.docker.compose.service=$1" --filter "label=com.docker.compose.oneoff=False" "${@:2}"
}

# One that runs. Not by `compose exec`: 1.29 knows only the container with the number 1, which a deploy replaces by 2.
first_of() { containers_of "$1" --filter status=running | head -n 1; }

# Only one of up, down, deploy, backup and restore at a time; the other ones wait for $1 seconds, then give up. The kernel
# drops the lock with the process, however that ends.
hold_lock() {
    local file
    mkdir -p "$ROOT/var"
    file=$ROOT/var/$(setting COMPOSE_PROJECT_NAME).lock
    has flock || return 0  # macOS has none, and nobody deploys to it
    (umask 022 && : >> "$file") 2>/dev/null || true
    chmod go-w "$file" 2>/dev/null || true  # one that an older version has made
    # Root's nightly backup and a person's deploy share it: it belongs to whom the folder does, and to lock it one only
    # has to read it.
    [[ $(id -u) != 0 ]] || chown --reference="$ROOT" "$ROOT/var" "$file" || true
    [[ -r $file ]] || die "$file cannot be read, so nobody knows who else is at work; give it to $(id -un)"
    exec 9<"$file"
    flock --nonblock 9 || { say "waiting for $(cat "$file")" && (($1 > 0)) && flock --wait "$1" 9; } ||
        die "$(cat "$file") is at work on this stack; wait for it to end"
    (echo "$(basename "$0") (process $$)" > "$file") 2>/dev/null || true
}

# `patiently WHAT SECONDS COMMAND`: until the command succeeds, with a line of progress every ten seconds. Fails when
# it takes too long, or when the command says (exit code 2) that it never will.
patiently() {
    local what=$1 began=$SECONDS deadline=$((SECONDS + $2)) told=0 status
    shift 2
    while :; do
        status=0
        "$@" || status=$?
        ((status != 0)) || return 0
        ((status != 2 && SECONDS < deadline)) || return 1
        if ((SECONDS - began >= told + 10)); then
            told=$((SECONDS - began))
            say "still waiting for $what ($told s)"
        fi
        sleep 0.5
    done
}

# Before anything is touched, in containers that nobody is led to: a new one of a service has its name, and so requests, as
# soon as it has started.
try_out_new() {
    try_out "nginx does not take its new configuration" nginx -t
    try_out "the new application cannot be loaded" -e WSGISERVER_CHECK_CONFIG=on web
}

try_out() { or_stop "$1" "$ROOT/scripts/compose.sh" run --rm --no-deps -T "${@:2}"; }

or_stop() { quietly "${@:2}" || die "$1; what runs goes on as it was"; }

# What they said last, on stderr.
show_logs() {
    local container
    for container in "$@"; do
        docker logs --tail 30 "$container" >&2 2>&1 || true
    done
}

# The one-shot service, to its end. Fails with what it said.
migrate() {
    local container
    say "migrating the database"
    quietly "$ROOT/scripts/compose.sh" up -d --no-deps migrate || return 1
    container=$(containers_of migrate)
    if ! patiently "the migration" 600 has_ended "$container" || [[ $(docker inspect -f '{{.State.ExitCode}}' "$container") != 0 ]]; then
        show_logs "$container"
        return 1
    fi
}

has_ended() { [[ $(docker inspect -f '{{.State.Status}}' "$1") == exited ]]; }

# All of these containers; never (2), should one of them have ended, or end again and again.
are_healthy() {
    local container state worst=0
    for container in "$@"; do
        state=$(docker inspect -f '{{.State.Status}} {{with .State.Health}}{{.Status}}{{else}}healthy{{end}} {{.RestartCount}}' "$container") || return 2
        case $state in
            'running healthy '*) ;;
            created* | exited* | dead* | *' '[3-9] | *' '[1-9][0-9]*) return 2 ;;
            *) worst=1 ;;
        esac
    done
    return "$worst"
}

# --- backup and restore ---------------------------------------------------------------------------------------

# A step of archive.py, in a container of what web runs, with the volumes and nothing else. Data goes through stdin
# and stdout, so that no folder of this machine has to be shared with it.
archive() {
    local web
    web=$(containers_of web | head -n 1)
    docker run --rm --interactive --network none --cap-drop ALL --security-opt no-new-privileges --read-only \
        --user 10001:10001 --log-driver none --label com.docker.compose.project= --label com.docker.compose.service= \
        --volume "$(source_of "$web" /srv/media):/srv/media" --volume "$(source_of "$web" /srv/data):/srv/data" \
        --entrypoint python "$(docker inspect -f '{{.Image}}' "$web")" -c "$(cat "$ROOT/scripts/archive.py")" "$@"
}

# The volume, or the folder of this machine, that a container has at a place.
source_of() {
    docker inspect -f "{{range .Mounts}}{{if eq .Destination \"$2\"}}{{if eq .Type \"volume\"}}{{.Name}}{{else}}{{.Source}}{{end}}{{end}}{{end}}" "$1"
}

# What kind of database the stack has; nothing if it has none of its own. Another PostgreSQL may be named while the one
# of the stack still runs: that one's rows are not the ones in use.
database_kind() {
    case $(database_address) in
        sqlite:////srv/data/*) echo sqlite ;;
        postgres*://*@db/uploads | postgres*://*@db:5432/uploads) echo postgresql ;;
    esac
}

# Where SQLite's is.
database_path() {
    local address
    address=$(database_address)
    [[ $address != sqlite:* ]] || printf '%s\n' "${address#sqlite:///}"
}

# Without options.
database_address() { setting DATABASE_URL | sed 's/?.*//'; }

need_own_database() {
    local used
    [[ -n $(database_kind) ]] ||
        die "DATABASE_URL names neither a SQLite database in /srv/data nor the one that this stack has (service db);" \
            "back it up, and restore it, where it is"
    # Photos of the one and rows of the other would be put together.
    used=$(docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' "$(containers_of web | head -n 1)" |
        sed -n 's/^DATABASE_URL=//p' | without_secrets)
    [[ $used == "$(setting DATABASE_URL | without_secrets)" ]] ||
        die "web has the database $used, and DATABASE_URL in $ENV_FILE names another one by now; run: make up"
}

without_secrets() { sed -e 's#//.*@#//#' -e 's/?.*//'; }

# A volume, or a folder of this machine, that containers of other stacks have as well, running or not.
refuse_shared() {
    local others
    others=$(strangers_with "$1")
    [[ -z $others ]] || die "$1 is used by other stacks, too ($others); what happens to it happens to them. Nothing was changed"
}

strangers_with() {
    docker ps --all --filter "volume=$1" --format '{{.Label "com.docker.compose.project"}} {{.Names}}' |
        awk -v own="$(setting COMPOSE_PROJECT_NAME)" 'NF == 2 && $1 != own { print $2 }' | paste -sd ' ' -
}

# A program of PostgreSQL, beside the server, as its superuser: that role has no password, and is for this way alone.
postgres() {
    docker exec --interactive --env PGOPTIONS=--client-min-messages=warning --env PGUSER="$(superuser)" "$(first_of db)" "$@"
}

# In a database that an earlier version made, the application's role is it, until scripts/role.sh has mended that.
superuser() {
    if docker exec "$(first_of db)" psql --username=postgres --dbname=postgres --command='' >/dev/null 2>&1; then
        echo postgres
    else
        echo uploads
    fi
}

# YES=1 does not ask.
confirmed() {
    local answer
    [[ ${YES:-} != 1 ]] || return 0
    read -r -p 'Type yes to go on: ' answer || true
    [[ ${answer:-} == yes ]]
}
