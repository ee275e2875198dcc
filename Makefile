# Each target is a command that someone could type. What takes more than a line is in scripts/.
# Arguments: make logs S=web, make test ARGS="-k chunked", COMPOSE_PROFILES=demo make up

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help up down dev env doctor deploy backup restore spool soak logs ps shell token build test test-quick coverage check bench lock clean

S ?=
ARGS ?=
FILE ?=
SIZE ?=
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-config --custom-compile-command "make lock"

help:  ## this list
	@awk -F ':.*## ' '/^##@ /{printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

##@ Run it
up:  ## start the whole stack (without an engine: what `dev` does); ends with addresses and a curl to paste
	@scripts/up.sh
down:  ## stop it; photos, rows and settings stay
	@scripts/down.sh
dev:  ## without containers: the application on our server, in the foreground
	@scripts/dev.sh
env:  ## write .env with random secrets, once
	@scripts/env.sh
doctor:  ## look for the usual troubles, and say what to do
	@scripts/doctor.sh

##@ Operate it
deploy:  ## build, migrate, and replace web without a lost request
	@scripts/deploy.sh
backup:  ## database and photos into one file of backups/, while it runs
	@scripts/backup.sh
restore:  ## put a backup in the place of what is there (FILE=backups/NAME.tar; asks, YES=1 does not)
	@scripts/restore.sh "$(FILE)"
spool:  ## give uploads disks of a fixed size to be received on (sudo make spool SIZE=20g)
	@scripts/spool.sh $(SIZE)
soak:  ## half an hour of traffic and trouble on a stack of its own; nothing may be lost (MINUTES=30)
	@scripts/soak.sh

##@ Look at it
logs:  ## follow the logs (S=web for one service)
	@scripts/logs.sh $(S)
ps:  ## what runs, and how it is
	@scripts/ps.sh
shell:  ## a shell in web (S=nginx for another)
	@scripts/shell.sh $(S)
token:  ## print a fresh API token of the demo user
	@scripts/token.sh

##@ Work on it
build:  ## build the images
	@scripts/env.sh && scripts/images.sh && scripts/compose.sh build
test:  ## all tests; without an engine, all that need none (ARGS="-k chunked")
	@scripts/test.sh $(ARGS)
test-quick:  ## tests that need no container and take little time; not those marked slow, nor images and stacks
	@scripts/test.sh --quick $(ARGS)
coverage:  ## branches covered where all have to be (`make test` looks, too)
	@scripts/venv.sh dev && .venv/bin/python tests/test_coverage.py
check:  ## lint, format, types, scripts, configuration
	@scripts/check.sh
bench:  ## measure side by side with other servers (ARGS="--only hello,upload --peers granian")
	@scripts/bench.sh $(ARGS)
lock:  ## lock the requirements again, for every supported Python
	@scripts/venv.sh dev
	cd requirements && for set in app test dev bench bench-compiled; do ../.venv/bin/$(LOCK) $$set.in -o $$set.txt; done

##@ Throw it away
clean:  ## delete containers, photos, rows and built images (asks; YES=1 does not)
	@scripts/clean.sh
