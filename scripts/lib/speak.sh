# shellcheck shell=bash
# How scripts speak. Progress and complaints go to stderr, so that stdout is the answer alone.

say() { printf '==> %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }
