# meshui: `make up` runs it, `make test` proves it. `make help` lists the rest.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
UV_VERSION := 0.13.9
READY := $(VENV)/ready
LOCKED := requirements/base.txt requirements/dev.txt
COMPILE := $(UV) pip compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11
CODE := manage.py meshui rollouts echo_services protos tests tools

.PHONY: help up test test-fast lint fix bench soak proto lock chromium awscli clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): $(LOCKED)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "meshui needs Python 3.11 or newer; $$($(PYTHON) --version) was found. Set PYTHON=..."; exit 1; }
	@# Always from nothing: packages that share files leave holes when one of them goes.
	@$(PYTHON) -m venv --clear $(VENV) || \
	  { echo "The virtual environment could not be made: install Python's venv module (Debian: python3-venv)."; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) && \
	  VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --require-hashes $(addprefix -r ,$(LOCKED)) || \
	  { echo "The locked packages could not be installed: is a package index reachable?"; exit 1; }
	@touch $@

up: $(READY) ## run everything: stack, mesh, traffic, dashboard; AWS=fake to try the AWS pages
	@case "$(AWS)" in ""|fake) ;; *) echo "AWS=$(AWS) is not known: use AWS=fake, or leave it out for this machine and the real AWS."; exit 1;; esac
	@exec env $(if $(filter fake,$(AWS)),MESHUI_AWS_FAKE=1) $(BIN)/python manage.py up

test: $(READY) chromium awscli ## every test: unit, real Envoy, real browser, PostgreSQL
	@$(BIN)/python -m tests.run

test-fast: $(READY) ## unit tests only
	@$(BIN)/python -m pytest -m "not envoy and not stack and not browser and not docker and not soak"

soak: $(READY) ## long random-fault runs
	@$(BIN)/python -m pytest -m soak --timeout 3600

lint: $(READY) ## format, style, types, imports, migrations, generated code
	@$(BIN)/ruff format --check --quiet $(CODE)
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/mypy --no-error-summary manage.py meshui rollouts echo_services tests
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python manage.py check
	@$(BIN)/python manage.py makemigrations --check --dry-run
	@$(BIN)/python -m protos.generate --check
	@echo "lint: all is well"

fix: $(READY) ## format and mend what can be mended by itself
	@$(BIN)/ruff format --quiet $(CODE)
	@$(BIN)/ruff check --fix --quiet $(CODE)

bench: $(READY) ## benchmarks; ARGS="--full B1" for more
	@$(BIN)/python -m tests.benchmarks $(ARGS)

proto: $(READY) ## generate the code of protos/*.proto
	@$(BIN)/python -m protos.generate

lock: ## resolve requirements/*.in anew, with hashes
	@test -x $(UV) || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv==$(UV_VERSION); }
	@$(COMPILE) requirements/base.in -o requirements/base.txt > /dev/null
	@$(COMPILE) requirements/dev.in -o requirements/dev.txt > /dev/null
	@$(COMPILE) requirements/awscli.in -o requirements/awscli.txt > /dev/null

chromium: ## install a browser for the browser tests, if none is there
	@tools/chromium.sh

awscli: $(READY) ## install the aws command line for the tests that read back with it
	@tools/awscli.sh

clean: ## remove the virtual environment and everything that was made
	@rm -rf $(VENV) .venv-awscli .meshui bench-results test-results .mypy_cache .ruff_cache .hypothesis .import_linter_cache
