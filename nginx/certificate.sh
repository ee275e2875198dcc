#!/bin/sh
# Prints the paths of the certificate and its key. These are fullchain.pem and privkey.pem in /srv/certificates, if you put
# them there; they are never changed. Otherwise it is a self-signed certificate for ALLOWED_HOSTS, which is made on first
# use, and again 30 days before it expires or when ALLOWED_HOSTS changes. Certificate and key are in one file, so that they
# always belong together.
set -eu

FOLDER=/srv/certificates
CHAIN=$FOLDER/fullchain.pem
KEY=$FOLDER/privkey.pem
SELF_SIGNED=$FOLDER/self-signed.pem
DAYS=90
RENEW_BEFORE=$((30 * 86400))  # seconds before it expires

main() {
    if [ -e "$CHAIN" ] || [ -e "$KEY" ]; then
        check_given
        echo "$CHAIN $KEY"
        return
    fi
    is_current || make
    echo "$SELF_SIGNED $SELF_SIGNED"
}

# nginx would report most of this as well, in the words of OpenSSL. It cannot read a key with a passphrase.
check_given() {
    if [ ! -r "$CHAIN" ] || [ ! -r "$KEY" ]; then refuse_unreadable; fi
    chain=$(openssl x509 -in "$CHAIN" -noout -pubkey 2>/dev/null) ||
        refuse "fullchain.pem is not a certificate in PEM format; use the certificate followed by its intermediates"
    key=$(openssl pkey -in "$KEY" -pubout -passin pass: 2>/dev/null) ||
        refuse "privkey.pem is not a key in PEM format without a passphrase; use such a key"
    [ "$chain" = "$key" ] || refuse "fullchain.pem and privkey.pem do not belong together; use the key that the certificate was made for"
    openssl x509 -in "$CHAIN" -noout -checkend 0 >/dev/null ||
        echo "nginx: TLS_FOLDER: the certificate has expired: $(openssl x509 -in "$CHAIN" -noout -enddate)" >&2
}

refuse_unreadable() {
    echo "nginx: TLS_FOLDER: user $(id -u) cannot read both fullchain.pem and privkey.pem; make both files readable for that user:" >&2
    ls -ln "$FOLDER" >&2 || true
    exit 1
}

refuse() {
    echo "nginx: TLS_FOLDER: $1" >&2
    exit 1
}

# Text before the first block of a PEM file is a comment. Here it says for which names the certificate was made.
is_current() {
    openssl x509 -in "$SELF_SIGNED" -noout -checkend "$RENEW_BEFORE" >/dev/null 2>&1 &&
        [ "$(head -n 1 "$SELF_SIGNED")" = "made for $ALLOWED_HOSTS" ]
}

make() {
    [ -w "$FOLDER" ] || {
        echo "nginx: TLS_FOLDER: TLS is on, there is no fullchain.pem and privkey.pem, and user $(id -u) cannot write a self-signed certificate; put both files there, or make the folder writable for that user" >&2
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
    echo "nginx: made a self-signed certificate that is valid for $DAYS days; browsers warn about it (to use a real one, set TLS_FOLDER)" >&2
}

# A name that begins with a dot includes its subdomains. *, which allows every name, cannot be in a certificate.
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

set -f  # a * in ALLOWED_HOSTS is not a file name pattern
main
