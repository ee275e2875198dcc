#!/bin/sh
# Prints the files of certificate and key: fullchain.pem and privkey.pem in /srv/certificates, which somebody has put
# there and which are never touched; or, where there are none, a self-signed one for ALLOWED_HOSTS, made on first use, and
# anew 30 days before it ends or when those names change. That is one file, so that its halves always belong together.
set -eu

FOLDER=/srv/certificates
CHAIN=$FOLDER/fullchain.pem
KEY=$FOLDER/privkey.pem
SELF_SIGNED=$FOLDER/self-signed.pem
DAYS=90
RENEW_BEFORE=$((30 * 86400))  # seconds

main() {
    if [ -e "$CHAIN" ] || [ -e "$KEY" ]; then
        check_given
        echo "$CHAIN $KEY"
        return
    fi
    is_current || make
    echo "$SELF_SIGNED $SELF_SIGNED"
}

# nginx would say most of this, too, in the words of OpenSSL. A key with a passphrase is one that cannot be read.
check_given() {
    if [ ! -r "$CHAIN" ] || [ ! -r "$KEY" ]; then refuse; fi
    chain=$(openssl x509 -in "$CHAIN" -noout -pubkey 2>/dev/null) || wrong "fullchain.pem is no certificate in PEM"
    key=$(openssl pkey -in "$KEY" -pubout -passin pass: 2>/dev/null) || wrong "privkey.pem is no key in PEM without a passphrase"
    [ "$chain" = "$key" ] || wrong "fullchain.pem and privkey.pem do not belong together"
    openssl x509 -in "$CHAIN" -noout -checkend 0 >/dev/null ||
        echo "nginx: the certificate in TLS_FOLDER has expired: $(openssl x509 -in "$CHAIN" -noout -enddate)" >&2
}

refuse() {
    echo "nginx: user $(id -u) has to be able to read both fullchain.pem and privkey.pem in TLS_FOLDER, and cannot:" >&2
    ls -ln "$FOLDER" >&2 || true
    exit 1
}

wrong() {
    echo "nginx: in TLS_FOLDER, $1" >&2
    exit 1
}

# Text before the first block of a PEM file is for people, and for us: whom it was made for.
is_current() {
    openssl x509 -in "$SELF_SIGNED" -noout -checkend "$RENEW_BEFORE" >/dev/null 2>&1 &&
        [ "$(head -n 1 "$SELF_SIGNED")" = "made for $ALLOWED_HOSTS" ]
}

make() {
    [ -w "$FOLDER" ] || {
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
    { echo "made for $ALLOWED_HOSTS" && cat "$draft/chain" "$draft/key"; } > "$SELF_SIGNED.new"
    mv "$SELF_SIGNED.new" "$SELF_SIGNED"
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
