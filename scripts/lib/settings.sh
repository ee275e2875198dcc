# shellcheck shell=bash
# What a setting is: its value in the environment, or else in .env; where that is empty, the default of .env.example.

# What the files set is in FROM_FILE_NAME and FROM_EXAMPLE_NAME, read once; to ask for one takes no process.
FOUND=$(ask settings) || exit
eval "$FOUND"

setting() {
    local in_file=FROM_FILE_$1 in_example=FROM_EXAMPLE_$1 value
    if [[ -n ${!1+set} ]]; then value=${!1}; else value=${!in_file:-}; fi
    printf '%s\n' "${value:-${!in_example:-}}"
}

# An image that is built here: runtime, edge or test. Before there is a .env, a project has the name that compose.yaml gives.
image_called() {
    local project
    project=$(setting COMPOSE_PROJECT_NAME)
    echo "${project:-uploadstack}-$1:$(setting IMAGE_TAG)"
}

# For who runs Docker without Compose: the base images that scripts/images.sh found, and the classic builder where there is
# no buildx to drive the other one.
load_images() { eval "$(ask images)"; }
choose_builder() { eval "$(ask builder)"; }

# Why containers cannot be used here, with the remedy, in one line; nothing if they can.
engine_trouble() { ask trouble; }
