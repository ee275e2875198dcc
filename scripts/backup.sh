#!/usr/bin/env bash
# Database and photos into one file of backups/, while the stack runs: what `make backup` runs. docs/operations.md
#
# A row is committed after its files are there, and deleted before they go. So neither order of copying would do: files
# first, and a row that came meanwhile has none; rows first, and a file that went meanwhile is missed. Hence: hold on to
# every file there is (a hard link, which deleting does not take away), copy the database, hold on to what came meanwhile.
# What came and went in between is looked for, and if there is any, all of it is done again.
#
# The file is written under another name, checked, and renamed: one that is there is whole. Its name is what is printed.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

BACKUPS=${BACKUPS:-$ROOT/backups}
KIND=$(database_kind)

main() {
    # --- looks -------------------------------------------------------------------------------------------
    local name project
    need_engine
    [[ -f $ENV_FILE && -n $(containers_of web --filter status=running) ]] || die "nothing runs that could be backed up; run: make up"
    need_own_database
    [[ $KIND == sqlite || -n $(containers_of db --filter status=running) ]] || die "the database does not run; run: make up"
    hold_lock 900

    # --- touches -----------------------------------------------------------------------------------------
    umask 077
    mkdir -p "$BACKUPS"
    project=$(setting COMPOSE_PROJECT_NAME)
    name=$BACKUPS/$project-$(date +%Y%m%d-%H%M%S).tar
    # What a backup that was killed has left, here and in the volumes.
    rm -rf "$BACKUPS/.unfinished-$project".*
    archive unpin
    WORK=$(mktemp -d "$BACKUPS/.unfinished-$project.XXXXXX")
    trap 'rm -rf "$WORK"; archive unpin || true' EXIT
    take_copies
    say "writing the archive"
    pack > "$WORK/archive"
    say "checking it"
    check
    sync "$WORK/archive" 2>/dev/null || sync  # macOS's takes no name
    mv -n "$WORK/archive" "$name"
    [[ ! -e $WORK/archive ]] || die "$name is there already"
    say "$(files) files and the database, $(($(wc -c < "$name") / 1024 / 1024)) MiB; .env, with its secrets, is not in it: keep that apart"
    echo "$name"
}

# Database and files that belong together; $WORK/needed has the files that rows name.
take_copies() {
    local try
    for try in 1 2 3 4 5; do
        say "copying the database$( ((try == 1)) || echo ", again: photos were deleted meanwhile")"
        copy_database
        archive missing < "$WORK/needed" > "$WORK/missing"
        [[ -s $WORK/missing ]] || return 0
    done
    die "photos that rows name are not there, whenever one looks, the first: $(head -n 1 "$WORK/missing")"
}

copy_database() {
    if [[ $KIND == sqlite ]]; then
        archive pin "$(database_path)"
        archive rows > "$WORK/needed"
    else
        archive pin
        postgres pg_dump --format=custom uploads > "$WORK/dump"
        postgres pg_restore --data-only --table=photos_photo --file=- < "$WORK/dump" | columns original thumbnail > "$WORK/needed"
    fi
}

# Of the lines of COPY in a dump: the values of two columns, one a line.
columns() {
    awk -F '\t' -v first="$1" -v second="$2" '
        /^COPY / {
            names = $0
            sub(/^[^(]*\(/, "", names); sub(/\).*/, "", names)
            count = split(names, name, ", ")
            for (i = 1; i <= count; i++) { if (name[i] == first) a = i; if (name[i] == second) b = i }
            inside = 1
            next
        }
        /^\\\.$/ { inside = 0 }
        inside { print $a; print $b }'
}

pack() {
    if [[ $KIND == sqlite ]]; then
        archive pack sqlite </dev/null
    else
        archive pack postgresql "$(wc -c < "$WORK/dump" | tr -d ' ')" < "$WORK/dump"
    fi
}

# Not what was meant to be written, but what was: its checksums, and that each row finds its files in it.
check() {
    local lost
    archive check < "$WORK/archive" > "$WORK/held" || die "the archive that was written is not sound; nothing was kept of it"
    [[ $(head -n 1 "$WORK/held") == "$KIND" ]] || die "the archive holds another kind of database than was put in"
    lost=$(comm -23 <(sort "$WORK/needed") <(sed 1d "$WORK/held" | sort) | head -n 1)
    [[ -z $lost ]] || die "the archive lacks a file that a row names: $lost; nothing was kept of it"
}

files() { sed 1d "$WORK/held" | wc -l | tr -d ' '; }

main
