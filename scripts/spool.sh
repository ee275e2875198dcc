#!/usr/bin/env bash
# Disks of a fixed size for the bodies that are being received, so that these can never take the room of photos and
# database: sudo make spool SIZE=20g. docs/operations.md
#
# Each (nginx has one, web another) is a file with a file system in it, mounted now and whenever this machine starts.
# NGINX_SPOOL and WEB_SPOOL in .env say where; make deploy takes them into use. SIZE=0 takes all of it away again.
#
#   SPOOLS    where they are; default /var/lib/uploadstack/PROJECT
#   FSTAB     what is mounted when this machine starts; default /etc/fstab
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

SPOOLS=${SPOOLS:-/var/lib/uploadstack/$(setting COMPOSE_PROJECT_NAME)}
FSTAB=${FSTAB:-/etc/fstab}
OWNERS=(nginx:10002 web:10001)

main() {
    local size=${1:-} owner
    # --- looks -------------------------------------------------------------------------------------------
    [[ -n $size ]] || die "how large? sudo make spool SIZE=20g (each of the two; SIZE=0 takes them away)"
    [[ -f $ENV_FILE ]] || die "there is no $ENV_FILE yet; run: make env"
    [[ $(uname) == Linux && $(id -u) == 0 ]] || die "only root of a Linux machine can do that: sudo make spool SIZE=$size"
    if [[ $size == 0 ]]; then
        take_away
        return
    fi
    look_at_room "$size"

    # --- touches -----------------------------------------------------------------------------------------
    umask 022
    mkdir -p "$SPOOLS"
    for owner in "${OWNERS[@]}"; do
        make_disk "$SPOOLS/${owner%:*}" "$size" "${owner#*:}"
    done
    put_setting NGINX_SPOOL "$SPOOLS/nginx"
    put_setting WEB_SPOOL "$SPOOLS/web"
    say "to take them into use: make deploy"
}

look_at_room() {
    local size=$1 bytes free tool
    is_size "$size" || die "$size is no size: digits and k, m or g, such as 20g"
    for tool in mkfs.ext4 fallocate losetup; do
        has "$tool" || die "$tool is missing (Debian has it in e2fsprogs, util-linux and mount)"
    done
    [[ ! -e $SPOOLS/nginx && ! -e $SPOOLS/web ]] || die "$SPOOLS is there already; to begin anew: sudo make spool SIZE=0"
    bytes=$(bytes_of "$size")
    ((bytes >= 2 * $(bytes_of "$(setting UPLOAD_MAX)"))) ||
        die "in $size there is no room for two uploads of UPLOAD_MAX=$(setting UPLOAD_MAX)"
    free=$(($(df -Pk "$(existing "$SPOOLS")" | awk 'NR == 2 { print $4 }') * 1024))
    ((free > 2 * bytes + GIB)) || die "two of $size, and a GB to spare, do not fit: $((free / GIB)) GB are free there"
}

# The nearest folder that is there.
existing() {
    local folder=$1
    until [[ -d $folder ]]; do folder=$(dirname "$folder"); done
    echo "$folder"
}

# All of the room is taken now: a file that only seems to be large would be full too early. -m 0 keeps nothing for root.
make_disk() {
    local folder=$1 size=$2 user=$3
    say "$folder: $size"
    fallocate -l "$(bytes_of "$size")" "$folder.img"
    chmod 600 "$folder.img"
    mkfs.ext4 -q -m 0 -E "root_owner=$user:$user" "$folder.img"
    mkdir -p "$folder"
    entry "$folder" >> "$FSTAB"
    mount -o "$OPTIONS" "$folder.img" "$folder"
}

# nofail: a machine that cannot mount it starts all the same, and nginx says that it may not write there.
OPTIONS=loop,noatime,nosuid,nodev,noexec
entry() { echo "$1.img $1 ext4 $OPTIONS,nofail 0 2"; }

take_away() {
    local owner folder
    for owner in "${OWNERS[@]}"; do
        folder=$SPOOLS/${owner%:*}
        ! is_used "$folder" || die "a container uses $folder; first: take NGINX_SPOOL and WEB_SPOOL out of $ENV_FILE, and make deploy"
    done
    for owner in "${OWNERS[@]}"; do
        folder=$SPOOLS/${owner%:*}
        ! mountpoint -q "$folder" || umount "$folder"
        rewrite "$FSTAB" grep -vxF "$(entry "$folder")"
        rm -f "$folder.img"
        [[ ! -d $folder ]] || rmdir "$folder"
        say "$folder is gone"
    done
    rewrite "$ENV_FILE" grep -vxE "(NGINX|WEB)_SPOOL=$SPOOLS/(nginx|web)"
}

is_used() { has docker && docker ps --all --quiet | xargs -r docker inspect -f '{{range .Mounts}}{{println .Source}}{{end}}' | grep -qxF "$1"; }

put_setting() {
    rewrite "$ENV_FILE" grep -v "^$1="
    echo "$1=$2" >> "$ENV_FILE"
}

# `rewrite FILE COMMAND`: what the command lets through stays. The file keeps its owner and its mode.
rewrite() {
    local file=$1 kept
    shift
    kept=$("$@" "$file" || true)
    printf '%s\n' "$kept" > "$file"
}

main "$@"
