#!/bin/sh
# Makes sure that there is a certificate: the one that lies in /srv/certificates (fullchain.pem and privkey.pem), or a
# self-signed one for ALLOWED_HOSTS, made on first use. One of our own making is made anew 30 days before it ends; a
# certificate that somebody else put there is never touched.
set -eu

CHAIN=/srv/certificates/fullchain.pem
KEY=/srv/certificates/privkey.pem
MADE_HERE="O = upload stack (self-signed)"
DAYS=90
RENEW_BEFORE=$((30 * 86400))  # seconds

main() {
    if [ -e "$CHAIN" ] || [ -e "$KEY" ]; then
        [ -r "$CHAIN" ] && [ -r "$KEY" ] || refuse
        check_pair
        if ! is_made_here; then
            openssl x509 -in "$CHAIN" -noout -checkend 0 >/dev/null ||
                echo "nginx: the certificate in TLS_FOLDER has expired: $(openssl x509 -in "$CHAIN" -noout -enddate)" >&2
            return
        fi
        ! is_current || return 0
    fi
    make
}

refuse() {
    echo "nginx: user $(id -u) has to be able to read both fullchain.pem and privkey.pem in TLS_FOLDER, and cannot:" >&2
    ls -ln /srv/certificates >&2 || true
    exit 1
}

# nginx would say so, too, in the words of OpenSSL. A key with a passphrase is one that cannot be read.
check_pair() {
    chain=$(openssl x509 -in "$CHAIN" -noout -pubkey 2>/dev/null) || wrong "fullchain.pem is no certificate in PEM"
    key=$(openssl pkey -in "$KEY" -pubout -passin pass: 2>/dev/null) || wrong "privkey.pem is no key in PEM without a passphrase"
    [ "$chain" = "$key" ] || wrong "fullchain.pem and privkey.pem do not belong together"
}

wrong() {
    echo "nginx: in TLS_FOLDER, $1" >&2
    exit 1
}

is_made_here() { openssl x509 -in "$CHAIN" -noout -subject -nameopt oneline 2>/dev/null | grep -qF "$MADE_HERE"; }

is_current() {
    openssl x509 -in "$CHAIN" -noout -checkend "$RENEW_BEFORE" >/dev/null &&
        [ "$(cat /srv/certificates/made-for 2>/dev/null)" = "$ALLOWED_HOSTS" ]
}

# The key first: a chain that is there has its key.
make() {
    [ -w /srv/certificates ] || {
        echo "nginx: TLS=on, but TLS_FOLDER holds no fullchain.pem and privkey.pem, and user $(id -u) cannot write there" >&2
        exit 1
    }
    draft=$(mktemp -d)
    umask 077
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "$DAYS" \
        -subj "/O=upload stack (self-signed)/CN=upload stack" \
        -addext "subjectAltName=$(alternative_names)" -addext "basicConstraints=critical,CA:FALSE" \
        -addext "extendedKeyUsage=serverAuth" -keyout "$draft/key" -out "$draft/chain" 2>"$draft/errors" || {
        cat "$draft/errors" >&2
        exit 1
    }
    cp "$draft/key" "$KEY.new"
    cp "$draft/chain" "$CHAIN.new"
    mv "$KEY.new" "$KEY"
    mv "$CHAIN.new" "$CHAIN"
    printf '%s\n' "$ALLOWED_HOSTS" > /srv/certificates/made-for
    rm -rf "$draft"
    echo "nginx: made a self-signed certificate for $DAYS days; browsers will warn (TLS_FOLDER takes a real one)" >&2
}

# A name that begins with a dot means all below it as well; the one that means all names cannot be in a certificate.
alternative_names() {
    printf 'DNS:localhost'
    for entry in $(echo "$ALLOWED_HOSTS" | tr ',' ' '); do
        case $entry in
            '*' | localhost) ;;
            .*) printf ',DNS:%s,DNS:*%s' "${entry#.}" "$entry" ;;
            '['*) printf ',IP:%s' "$(echo "$entry" | tr -d '[]')" ;;
            *[!0-9.]*) printf ',DNS:%s' "$entry" ;;
            *) printf ',IP:%s' "$entry" ;;
        esac
    done
}

set -f  # a * in ALLOWED_HOSTS is a host
main
