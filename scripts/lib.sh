# shellcheck shell=bash
# Shared by the scripts that are bash: sourced, not run. For bash 3.2 and later, which is the version in macOS.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ENV_FILE=${ENV_FILE:-$ROOT/.env}
[[ $ENV_FILE == /* ]] || ENV_FILE=$PWD/$ENV_FILE
export ENV_FILE

# Asks scripts/ops/answers.py, which does all parsing.
ask() { "$ROOT/scripts/python.sh" answers "$@"; }

# shellcheck source=scripts/lib/speak.sh
source "$ROOT/scripts/lib/speak.sh"
# shellcheck source=scripts/lib/settings.sh
source "$ROOT/scripts/lib/settings.sh"
