# shellcheck shell=bash
# What the scripts share that are bash: sourced, not run. Written for bash 3.2 and later, because that is what macOS has.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ENV_FILE=${ENV_FILE:-$ROOT/.env}
[[ $ENV_FILE == /* ]] || ENV_FILE=$PWD/$ENV_FILE
export ENV_FILE

# A question to scripts/ops/answers.py, in which everything is that has to be parsed.
ask() { "$ROOT/scripts/python.sh" answers "$@"; }

# shellcheck source=scripts/lib/speak.sh
source "$ROOT/scripts/lib/speak.sh"
# shellcheck source=scripts/lib/settings.sh
source "$ROOT/scripts/lib/settings.sh"
