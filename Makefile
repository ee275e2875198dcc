# Each target is a command that you could type yourself. Anything longer than a line is in scripts/.
# Arguments: make logs S=web, make test ARGS="-k chunked", COMPOSE_PROFILES=demo make up

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help up demo down dev env doctor deploy backup restore spool soak logs ps shell token build test test-quick coverage check bench lock clean

S ?=
ARGS ?=
FILE ?=
SIZE ?=
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-config --custom-compile-command "make lock"

help:  ## show this list
	@awk -F ':.*## ' '/^##@ /{printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

##@ Run it
up:  ## start the stack, or without Docker the application alone; print its addresses and a curl command
	@scripts/up.sh
demo:  ## send a photo in chunks to each server of the running stack, and show which of them lose it
	@scripts/demo.sh
down:  ## stop the stack; keep photos, rows and settings
	@scripts/down.sh
dev:  ## run the application on our server without containers, in the foreground
	@scripts/dev.sh
env:  ## write .env with random secrets, once
	@scripts/env.sh
doctor:  ## check for common problems and print how to fix them; change nothing
	@scripts/doctor.sh

##@ Operate it
deploy:  ## build, migrate and replace the running containers without losing a request to web
	@scripts/deploy.sh
backup:  ## save database and photos to one file in backups/, while the stack runs
	@scripts/backup.sh
restore:  ## replace database and photos with a backup (FILE=backups/NAME.tar); ask first (YES=1: do not ask)
	@scripts/restore.sh "$(FILE)"
spool:  ## make disks of a fixed size for uploads that are being received (sudo make spool SIZE=20g)
	@scripts/spool.sh $(SIZE)
soak:  ## send traffic and cause faults on a separate stack; fail if an upload is lost (MINUTES=30)
	@scripts/soak.sh

##@ Look at it
logs:  ## follow the logs (S=web for one service)
	@scripts/logs.sh $(S)
ps:  ## list the containers and their states
	@scripts/ps.sh
shell:  ## open a shell in web (S=nginx for another service)
	@scripts/shell.sh $(S)
token:  ## print a new API token of the demo user
	@scripts/token.sh

##@ Work on it
build:  ## build the images
	@scripts/env.sh && scripts/images.sh && scripts/compose.sh build
test:  ## run all tests, or without Docker those that need no container (ARGS="-k chunked")
	@scripts/test.sh $(ARGS)
test-quick:  ## run the tests that need no container and are not marked slow
	@scripts/test.sh --quick $(ARGS)
coverage:  ## check that every branch is covered in the files that require it (`make test` does so as well)
	@scripts/venv.sh dev && .venv/bin/python tests/test_coverage.py
check:  ## check lint, format, types, scripts and configuration
	@scripts/check.sh
bench:  ## measure our server next to others (ARGS="--only hello,upload --servers granian")
	@scripts/bench.sh $(ARGS)
lock:  ## lock the requirements of requirements/*.in, for every supported Python
	@scripts/venv.sh dev
	cd requirements && for set in app test dev bench bench-compiled; do ../.venv/bin/$(LOCK) $$set.in -o $$set.txt; done

##@ Throw it away
clean:  ## delete containers, photos, rows and built images; ask first (YES=1: do not ask)
	@scripts/clean.sh
