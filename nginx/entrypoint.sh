#!/bin/sh
# Checks the settings, makes the configuration in /tmp/nginx (the root is read-only) and becomes nginx. An invalid setting
# is refused here by its name, because nginx would report a line of a rendered file instead.
# Arguments are passed to nginx: `docker run ... uploadstack-nginx:local -t` tests the configuration. --check only checks the
# settings, on any machine (scripts/ops/fit.py); --limits prints the limits that are computed from TOTAL_CONNECTIONS.
set -eu

main() {
    check_settings
    [ "${1:-}" != --check ] || return 0
    check_open_files
    if [ "${1:-}" = --limits ]; then
        echo "WORKER_CONNECTIONS=$WORKER_CONNECTIONS OPEN_FILES=$OPEN_FILES"
        return 0
    fi
    COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-uploadstack}
    RESOLVERS=$(name_servers)
    SERVER_NAMES=$(server_names)
    REAL_IP_FROM=$(each "${TRUSTED_PROXIES:-}" 'set_real_ip_from %s;\n')
    UPLOAD_MAX_TEXT=$(readable_size "$UPLOAD_MAX")
    TRUSTED_PEERS=$(each "${TRUSTED_PROXIES:-}" '%s 1;\n')
    # shellcheck disable=SC2016  # nginx's variable
    CORS_ORIGINS=$(each "${CORS_ALLOWED_ORIGINS:-}" '"%s" $http_origin;\n')
    SCHEME=http
    HTTPS_SUFFIX=
    CERTIFICATE=
    CERTIFICATE_KEY=
    if [ "$TLS" = on ]; then
        SCHEME=https
        [ "$HTTPS_PORT" = 443 ] || HTTPS_SUFFIX=:$HTTPS_PORT
        files=$(/opt/nginx/certificate.sh)
        CERTIFICATE=${files% *}
        CERTIFICATE_KEY=${files#* }
    fi
    export COMPOSE_PROJECT_NAME RESOLVERS SERVER_NAMES REAL_IP_FROM TRUSTED_PEERS CORS_ORIGINS SCHEME HTTPS_SUFFIX CERTIFICATE CERTIFICATE_KEY \
        WORKER_CONNECTIONS OPEN_FILES UPLOAD_MAX_TEXT
    render
    # nginx unlinks the file of a body right after it has opened it, so it leaves a file behind only if it is killed in
    # between. Such files are deleted here, but not if there are arguments (-t): then another nginx may be receiving. Only
    # files that are named as nginx names them, and not the whole spool: it may be a disk with a lost+found, or a folder
    # with other files.
    [ $# -gt 0 ] || [ ! -d "$BODIES" ] || find "$BODIES" -type f -name '[0-9]*' -delete
    exec nginx -e stderr -c /tmp/nginx/nginx.conf -g 'daemon off;' "$@"
}

BODIES=/var/spool/nginx/body

# Names the setting as it stands in .env, its value, what is wrong with that, and what would be right.
refuse() {
    echo "nginx: $1: '$2' $3" >&2
    exit 1
}

check_settings() {
    check TLS "$TLS" 'on|off' 'is neither on nor off; use one of them'
    check ANONYMOUS_UPLOADS "$ANONYMOUS_UPLOADS" 'on|off' 'is neither on nor off; use one of them'
    check UPLOAD_MAX "$UPLOAD_MAX" '[1-9][0-9]{0,14}|[1-9][0-9]{0,7}[kmgKMG]' \
        'is not a size; use digits followed by k, m or g, such as 100m'
    check LOGIN_RATE "$LOGIN_RATE" '[1-9][0-9]*r/[sm]' \
        'is not a rate; use a number of requests per minute or second, such as 10r/m or 1r/s'
    check_number HTTPS_PORT "$HTTPS_PORT" 65535
    check_number NGINX_WORKERS "$NGINX_WORKERS" 512
    check_processes
    check_number CLIENT_CONNECTIONS "$CLIENT_CONNECTIONS" 65535
    check_number TOTAL_CONNECTIONS "$TOTAL_CONNECTIONS" 20000
    for entry in $(list "$ALLOWED_HOSTS"); do
        check ALLOWED_HOSTS "$entry" '\*|\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]' \
            'is not a host name; use names such as example.com, .example.com (with its subdomains), 192.0.2.1 or [::1]'
    done
    [ -n "$(each "$ALLOWED_HOSTS" %s)" ] ||
        refuse ALLOWED_HOSTS "$ALLOWED_HOSTS" 'names no host; use the names under which people reach the site, such as example.com'
    for entry in $(list "${TRUSTED_PROXIES:-}"); do
        check TRUSTED_PROXIES "$entry" "$ADDRESS" 'is not an address or a network; use one such as 192.0.2.1 or 10.1.0.0/16'
        case $entry in
            */0) refuse TRUSTED_PROXIES "$entry" 'would trust every client to name its own address; use the addresses of your proxies only' ;;
        esac
    done
    for entry in $(list "${CORS_ALLOWED_ORIGINS:-}"); do
        check CORS_ALLOWED_ORIGINS "$entry" 'https?://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?' \
            'is not an origin; use scheme, host in lower case and the port if there is one, such as https://app.example.com'
    done
}

# After a reload, old and new workers run for a while. The 8 others are the master, the init, and commands run by hand.
check_processes() {
    limit=$(process_limit)
    [ "$limit" != max ] || return 0
    [ $((2 * NGINX_WORKERS + 8)) -le "$limit" ] || refuse NGINX_WORKERS "$NGINX_WORKERS" \
        "is more than $(((limit - 8) / 2)): two processes per worker and 8 others must fit in the $limit of this container (pids_limit in compose.yaml); use $(((limit - 8) / 2)) or fewer"
}

# From the container's control group, version 2 or 1.
process_limit() {
    if [ -n "${PIDS_MAX:-}" ]; then
        echo "$PIDS_MAX"
    else
        cat /sys/fs/cgroup/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || echo max
    fi
}

# With a lower limit nginx would start anyway, and stop accepting connections when all file descriptors are in use.
check_open_files() {
    # A request needs two connections, and one process may get all requests. An upload needs an open file as well.
    WORKER_CONNECTIONS=$((2 * TOTAL_CONNECTIONS + 48))
    OPEN_FILES=$((2 * WORKER_CONNECTIONS))
    # shellcheck disable=SC3045  # dash has -H
    limit=$(ulimit -H -n)
    [ "$limit" = unlimited ] || [ "$OPEN_FILES" -le "$limit" ] || refuse TOTAL_CONNECTIONS "$TOTAL_CONNECTIONS" \
        "is more than $(((limit / 2 - 48) / 2)): four open files per request and 96 others must fit in the $limit of this container (ulimit -n); use $(((limit / 2 - 48) / 2)) or fewer"
}

# A simplified grammar of IPv6: eight groups, or a gap (::).
OCTET='(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])'
IPV6='([0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}|[0-9A-Fa-f:]*::[0-9A-Fa-f:]*'
ADDRESS="$OCTET(\.$OCTET){3}(/(3[0-2]|[12]?[0-9]))?|($IPV6)(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?"

check() { printf '%s\n' "$2" | grep -qxE "$3" || refuse "$1" "$2" "$4"; }

check_number() {
    check "$1" "$2" '[1-9][0-9]{0,4}' "is not a number from 1 to $3; use digits only"
    [ "$2" -le "$3" ] || refuse "$1" "$2" "is more than $3; use a number from 1 to $3"
}

# Turns a comma-separated list into words.
list() { echo "$1" | tr ',' ' '; }

# Prints each entry of a list in a format.
each() {
    for entry in $(list "$1"); do
        # shellcheck disable=SC2059  # the format is this file's own
        printf "$2" "$entry"
    done
}

# 100m is 100 MB, 1g is 1 GB, 4096 is 4096 bytes.
readable_size() {
    case $1 in
        *[kK]) echo "${1%?} KB" ;;
        *[mM]) echo "${1%?} MB" ;;
        *[gG]) echo "${1%?} GB" ;;
        *) echo "$1 bytes" ;;
    esac
}

# Django and nginx write names in the same way, except *, which allows every name: the expression "." matches any of them.
server_names() {
    for entry in $(list "$ALLOWED_HOSTS"); do
        if [ "$entry" = '*' ]; then printf '~. '; else printf '%s ' "$entry"; fi
    done
}

# The name servers of the container, in nginx's format: an IPv6 address is in brackets.
name_servers() {
    while read -r key address _; do
        [ "$key" = nameserver ] || continue
        case $address in
            *:*) printf '[%s] ' "$address" ;;
            *) printf '%s ' "$address" ;;
        esac
    done < /etc/resolv.conf
}

# envsubst replaces only these names, so that nginx keeps its own $variables.
# shellcheck disable=SC2016  # envsubst needs the names, not their values
VARIABLES='$COMPOSE_PROJECT_NAME $RESOLVERS $UPLOAD_MAX $UPLOAD_MAX_TEXT $ANONYMOUS_UPLOADS $NGINX_WORKERS $CLIENT_CONNECTIONS $TOTAL_CONNECTIONS $LOGIN_RATE $SERVER_NAMES $REAL_IP_FROM $TRUSTED_PEERS $CORS_ORIGINS $SCHEME $HTTPS_SUFFIX $CERTIFICATE $CERTIFICATE_KEY $WORKER_CONNECTIONS $OPEN_FILES'

# All files of the configuration are in one folder, so that each includes another by its name alone.
render() {
    mkdir -p /tmp/nginx
    cd /opt/nginx
    set +f
    cp -r ./*.conf project /tmp/nginx
    for template in *.template; do
        envsubst "$VARIABLES" < "$template" > "/tmp/nginx/${template%.template}"
    done
    serve_media
}

# Serves the files of MEDIA_ROOT to everyone if the project's MEDIA_URL is /media/; the Dockerfile saved it in media-url.
# (To Django, media/ means the same. Tests set the variable MEDIA_URL instead.)
serve_media() {
    case ${MEDIA_URL-$(cat media-url 2>/dev/null)} in
        /media/ | media/) ;;
        *) rm /tmp/nginx/media.conf ;;
    esac
}

set -f  # a * in ALLOWED_HOSTS is not a file name pattern
main "$@"
