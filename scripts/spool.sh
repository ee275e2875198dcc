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
    put_line "$FSTAB" "^$folder.img " "$(entry "$folder")"
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
        drop_lines "$FSTAB" "^$folder.img "
        rm -f "$folder.img"
        [[ ! -d $folder ]] || rmdir "$folder"
        say "$folder is gone"
    done
    drop_lines "$ENV_FILE" "^\(NGINX\|WEB\)_SPOOL=$SPOOLS/"
}

# Where that cannot be seen it is not taken away.
is_used() {
    local used
    has docker || return 1
    used=$(docker ps --all --quiet | xargs -r docker inspect -f '{{range .Mounts}}{{println .Source}}{{end}}') ||
        die "what the containers use cannot be seen: does Docker run? Nothing was taken away"
    grep -qxF "$1" <<< "$used"
}

put_setting() { put_line "$ENV_FILE" "^ *$1 *=" "$1=$2"; }

# `put_line FILE PATTERN LINE`: in the place of the lines that match, at the end.
put_line() { rewrite "$1" with "$2" "$3"; }
drop_lines() { rewrite "$1" without "$2"; }

without() { grep -v -e "$1" "$2" || (($? == 1)); }  # 1: nothing is left; above: it failed
with() { without "$1" "$3" && printf '%s\n' "$2"; }

# `rewrite FILE COMMAND ...`: the file is what the command makes of it, or stays as it is. It keeps owner and mode.
rewrite() {
    local file draft
    file=$(readlink -f "$1")
    shift
    draft=$(mktemp "$file.XXXXXX")
    cp -p "$file" "$draft"
    "$@" "$file" > "$draft" || {
        rm -f "$draft"
        die "$file could not be written; it stays as it was"
    }
    mv "$draft" "$file"
}

main "$@"
