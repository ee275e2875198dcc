#!/usr/bin/env bash
# Builds an image out of Debian's packages that can stand in for an official one: the same programs of the same
# versions, for the Dockerfile and compose.yaml rely on nothing else. scripts/images.sh decides when.
#
#   scripts/standin.sh python 3.14 python:standin-3.14
#   scripts/standin.sh nginx 1.30 nginx:standin-1.30
#   scripts/standin.sh postgres 18 postgres:standin-18
#   scripts/standin.sh prometheus 3 prometheus:standin-3
#   scripts/standin.sh --recipe              a number that changes when these instructions do
#
# Debian's testing release has these versions. mmdebstrap (no container, no registry) unpacks it into a tar file.
# shellcheck disable=SC2016  # the hooks of mmdebstrap expand "$1" themselves
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

SUITE=forky

main() {
    if [[ ${1:-} == --recipe ]]; then
        recipe
        return
    fi
    KIND=${1:?python, nginx, postgres or prometheus}
    VERSION=${2:?which version}
    TAG=${3:?tag of the image}
    WORK=$(mktemp -d)
    trap 'rm -rf "$WORK"' EXIT
    ensure_mmdebstrap
    describe
    say "building $TAG from Debian packages ($SUITE); about half a minute"
    unpack
    docker import "${CHANGES[@]}" "$WORK/root.tar" "$TAG" >/dev/null
    check_version
}

ensure_mmdebstrap() {
    ! has mmdebstrap || return 0
    has apt-get || die "no registry answers, and the stand-in needs mmdebstrap, a Debian package, which this system does not" \
        "have. Load the image (docker load), or name one from a mirror of yours in .env ($(upper "$KIND")_IMAGE)." \
        "Without containers: make dev"
    [[ $(id -u) == 0 ]] || die "no registry answers, and the stand-in needs mmdebstrap. Run: sudo apt-get install mmdebstrap"
    say "installing mmdebstrap"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap >"$WORK/apt.log" 2>&1 ||
        die "apt-get cannot install mmdebstrap: $(tail -n 1 "$WORK/apt.log")"
}

# PACKAGES, HOOKS for mmdebstrap, CHANGES for the image's configuration, ASK for its version.
describe() {
    HOOKS=(--customize-hook='rm -rf "$1"/var/cache/debconf/*-old "$1"/var/log/*.log "$1"/var/lib/apt/lists')
    CHANGES=(
        --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
        --change "LABEL standin.recipe=$(recipe)"
    )
    case $KIND in
        python)
            PACKAGES=python3,python3-venv,libstdc++6  # Pillow and others take the last for granted, as in the official image
            CHANGES+=(--change 'CMD ["python3"]')
            ASK=(python3 --version)
            ;;
        nginx)
            PACKAGES=nginx,curl,gettext-base
            ASK=(nginx -v)
            ;;
        postgres) describe_postgres ;;
        prometheus) describe_prometheus ;;
        *) die "there is no stand-in for $KIND" ;;
    esac
    take_certificates_along
}

# The official image's user id, paths and entry point; without the cluster that Debian would make at once.
describe_postgres() {
    PACKAGES=postgresql-$VERSION
    HOOKS+=(
        --essential-hook='mkdir -p "$1"/etc/postgresql-common'
        --essential-hook='echo "create_main_cluster = false" > "$1"/etc/postgresql-common/createcluster.conf'
        --essential-hook='echo "postgres:x:999:" >> "$1"/etc/group'
        --essential-hook='echo "postgres:x:999:999::/var/lib/postgresql:/bin/sh" >> "$1"/etc/passwd'
        --customize-hook="upload $ROOT/scripts/standin-postgres.sh /usr/local/bin/docker-entrypoint.sh"
        --customize-hook='chmod 755 "$1"/usr/local/bin/docker-entrypoint.sh'
        --customize-hook='chown 999:999 "$1"/var/lib/postgresql'
    )
    CHANGES+=(
        --change "ENV PATH=/usr/lib/postgresql/$VERSION/bin:/usr/local/bin:/usr/bin:/bin"
        --change "ENV PGDATA=/var/lib/postgresql/$VERSION/docker"
        --change 'ENTRYPOINT ["docker-entrypoint.sh"]'
        --change 'CMD ["postgres"]'
    )
    ASK=(postgres --version)
}

# The official image's user, paths and arguments. Debian's user and its own configuration are not used.
describe_prometheus() {
    PACKAGES=prometheus
    HOOKS+=(
        --customize-hook='mkdir -p "$1"/prometheus && chown 65534:65534 "$1"/prometheus'
        --customize-hook='rm -rf "$1"/etc/prometheus/* "$1"/var/lib/prometheus'
    )
    CHANGES+=(
        --change 'USER nobody'
        --change 'WORKDIR /prometheus'
        --change 'ENTRYPOINT ["/bin/prometheus"]'
        --change 'CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]'
    )
    ASK=(sh -c 'prometheus --version | sed "s/+.*//;q"')  # "prometheus, version 3.5.3+ds1 (branch: ..."
}

# Behind a proxy that inspects TLS, only this machine's bundle knows the proxy's authority, and pip will need it.
take_certificates_along() {
    local bundle
    for bundle in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
        if [[ -n $bundle && -r $bundle ]]; then
            HOOKS+=(--customize-hook="upload $bundle /etc/ssl/certs/ca-certificates.crt")
            return
        fi
    done
}

# Check-Valid-Until: a mirror may be a snapshot of an older day. Signatures are checked all the same.
unpack() {
    mmdebstrap --variant=essential --include="ca-certificates,$PACKAGES" \
        --aptopt='Acquire::Check-Valid-Until "false"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        "${HOOKS[@]}" "$SUITE" "$WORK/root.tar" >&2 ||
        die "mmdebstrap could not unpack Debian's packages (its last lines are above). Neither a registry nor a Debian" \
            "mirror answers: load the images (docker load), name a mirror's in .env, or run without containers: make dev"
}

check_version() {
    local said
    said=$(docker run --rm --network none --entrypoint '' "$TAG" "${ASK[@]}" 2>&1 | tail -n 1)
    [[ $said =~ [^0-9]$VERSION(\.|[[:space:]]|$) ]] || warn "$TAG holds $said, not $VERSION: Debian's $SUITE has moved on"
}

upper() { tr '[:lower:]' '[:upper:]' <<< "$1"; }

# An image carries it as a label, so that one of an older recipe is known for one.
recipe() { cat "$ROOT/scripts/standin.sh" "$ROOT/scripts/standin-postgres.sh" | cksum | cut -d ' ' -f 1; }

main "$@"
