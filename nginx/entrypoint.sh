#!/bin/sh
# Renders the templates into /tmp/nginx (the root is read-only) and becomes nginx. It decides nothing else.
# Arguments go to nginx: `docker run ... uploadstack-edge -t` tests the configuration.
set -eu

# The container's own name servers, whatever engine wrote them; an IPv6 address stands in brackets.
name_servers() {
    while read -r key address _; do
        [ "$key" = nameserver ] || continue
        case $address in
            *:*) printf '[%s] ' "$address" ;;
            *) printf '%s ' "$address" ;;
        esac
    done < /etc/resolv.conf
}

RESOLVERS=$(name_servers)
export RESOLVERS

# Only these names are replaced, so that nginx keeps its own $variables.
# shellcheck disable=SC2016  # envsubst wants the names, not their values
VARIABLES='$RESOLVERS $UPLOAD_MAX $NGINX_WORKERS $CLIENT_CONNECTIONS'

mkdir -p /tmp/nginx
cd /opt/edge
for template in *.template; do
    envsubst "$VARIABLES" < "$template" > "/tmp/nginx/${template%.template}"
done

# A nginx that was killed leaves half-received bodies behind, and nobody else writes here.
find /var/spool/nginx -type f -delete

exec nginx -e stderr -c /tmp/nginx/nginx.conf -g 'daemon off;' "$@"
