#!/bin/sh
# Runs certificate.sh in a folder that commands have prepared: `try_certificates.sh COMMANDS`; $D is the folder, which
# replaces /srv/certificates. Prints what has changed.
D=$(mktemp -d)
export D ALLOWED_HOSTS=localhost
(eval "$1") 2>/dev/null
before=$(cat "$D"/* 2>/dev/null | cksum)
sed "s|/srv/certificates|$D|g" /opt/nginx/certificate.sh > /tmp/certificate.sh
sh /tmp/certificate.sh 2>&1
echo "exit $?"
if [ "$before" = "$(cat "$D"/* 2>/dev/null | cksum)" ]; then echo same; else echo other; fi
openssl x509 -in "$D/self-signed.pem" -noout -checkend 5000000 >/dev/null 2>&1 && echo long
true
