# Everything a developer or a first user needs; `make` alone lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet --upgrade

.DEFAULT_GOAL := help
.PHONY: help run test test-machines check format bench dist-offline lock clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

run: $(VENV)/.run ## start an instance with real rules (state in ./var or $THREATCLOUD_STATE_DIR, port 8080 or $THREATCLOUD_PORT)
	exec $(BIN)/threatcloud serve --config config.example.toml

test: $(VENV)/.dev ## run every test that this machine can run
	$(BIN)/python -m pytest -n auto

test-machines: $(VENV)/.dev ## of them, only the proof of the playbooks on booted Debian machines (root, systemd-nspawn)
	$(BIN)/python -m pytest -n 2 tests/machines

check: $(VENV)/.dev ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## measure the product as shipped; writes bench/results.md
	$(BIN)/python -m bench

dist-offline: $(VENV)/.dev ## build the archive for installations without a network; writes dist/
	$(BIN)/python -m deploy.offline

lock: $(VENV)/.dev ## renew requirements/*.txt from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) pyproject.toml --extra rules --group build --output-file requirements/run.txt
	$(COMPILE) pyproject.toml --extra rules --constraint requirements/run.txt --output-file requirements/server.txt
	$(COMPILE) pyproject.toml --extra rules --group build --group check --group test --group ansible --group ansible-check \
		--group dist --output-file requirements/dev.txt
	$(COMPILE) --group pyproject.toml:ansible --output-file requirements/control.txt

clean: ## remove what the other commands made, except ./var
	rm -rf $(VENV) dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

# A virtual environment is made once, and brought up to date when the locked requirements change.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/.python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@
