# shellcheck shell=bash
# Settings. A value comes from the environment, or else from .env; if it is empty, the default is in .env.example.

# The values of both files are read once, into FROM_FILE_NAME and FROM_EXAMPLE_NAME, so that `setting` starts no process.
FOUND=$(ask settings) || exit
eval "$FOUND"

setting() {
    local in_file=FROM_FILE_$1 in_example=FROM_EXAMPLE_$1 value
    if [[ -n ${!1+set} ]]; then value=${!1}; else value=${!in_file:-}; fi
    printf '%s\n' "${value:-${!in_example:-}}"
}

# The name of an image that is built here: runtime, nginx or test. Without .env the project has its name from compose.yaml.
image_called() {
    local project
    project=$(setting COMPOSE_PROJECT_NAME)
    echo "${project:-uploadstack}-$1:$(setting IMAGE_TAG)"
}

# For scripts that run Docker without Compose: the base images that scripts/images.sh chose, and the classic builder if
# buildx is not installed.
load_images() { eval "$(ask images)"; }
choose_builder() { eval "$(ask builder)"; }

# Why containers cannot be used here, and what to do, in one line; nothing if they can.
engine_trouble() { ask trouble; }
