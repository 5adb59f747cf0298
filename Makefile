# make app     the app, on http://127.0.0.1:7860 (LOCKED=1: of the versions and hashes in requirements.lock)
# make test    the tests, on the CPU (ARGS="-k editor" picks some, JOBS=4 runs more at once)
# make lint    ruff's rules, its formatting, and the library's types (mypy)
# make docs    the API reference, made of the docstrings: build/docs/exprgan.html
# make lock    renews requirements.lock: the newest versions that requirements.txt allows, with their hashes
# make audit   looks up known vulnerabilities of what requirements.lock installs (asks a service on the network)
# make clean   removes all that make made: the virtual environment, caches, build files
#
# PYTHON=/path/to/python chooses the interpreter of a new .venv; otherwise the first Python >= 3.10 found.

PYTHON ?=
JOBS   ?= 3
ARGS   ?=
LOCKED ?=

venv   := .venv
tools  := build/tools
python := $(venv)/bin/python
pip    := $(python) -m pip --quiet --quiet --disable-pip-version-check --no-input

.PHONY: help app test lint docs lock audit clean

help:
	@sed -n 's/^# make /make /p' Makefile

# No call home from gradio or the Hub's client. (The Hub itself is asked for weights that are not here yet.)
app: $(venv)/.app-$(if $(LOCKED),locked,installed)
	GRADIO_ANALYTICS_ENABLED=False HF_HUB_DISABLE_TELEMETRY=1 $(python) app.py

# A worker keeps to its share of the cores (tests/conftest.py); a file's tests stay together, so its fixtures are made once.
test: $(venv)/.test-installed
	CUDA_VISIBLE_DEVICES= $(python) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(venv)/.test-installed
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy

docs: $(venv)/.test-installed
	$(python) docs/build_reference.py
	@echo build/docs/exprgan.html

# Of the versions in the old file none is kept (--upgrade); one file serves every system and every Python from 3.10.
lock: $(tools)/bin/uv
	$(tools)/bin/uv pip compile requirements.txt --output-file requirements.lock --upgrade --generate-hashes --universal \
	  --python-version 3.10 --no-emit-index-url --custom-compile-command "make lock" --quiet

# The report is written only if the service answered.
audit: $(tools)/bin/pip-audit
	@rm -f build/audit.txt
	@if $(tools)/bin/pip-audit --requirement requirements.lock --disable-pip --require-hashes --progress-spinner off \
	  --output build/audit.txt 2>build/audit.log; then echo "requirements.lock: no known vulnerabilities"; \
	elif [ -s build/audit.txt ]; then cat build/audit.txt; exit 1; \
	else echo "make audit: the vulnerability service did not answer, so nothing was checked; build/audit.log has the reason." \
	  "Run it where the network reaches the service." >&2; exit 1; fi

clean:
	rm -rf $(venv) *.egg-info build dist .gradio .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: pip runs again only when the lists changed. An environment that is here already is topped up, never emptied.
$(venv)/.app-installed: requirements.txt | $(venv)/bin/pip
	@echo "Installing requirements.txt into $(venv) (the first time: a few GB, some minutes) ..."
	@$(pip) install -r requirements.txt
	@touch $@

$(venv)/.app-locked: requirements.lock | $(venv)/bin/pip
	@echo "Installing requirements.lock into $(venv) (the first time: a few GB, some minutes) ..."
	@$(pip) install --require-hashes --only-binary :all: -r requirements.lock
	@touch $@

$(venv)/.test-installed: pyproject.toml $(venv)/.app-installed
	@echo "Installing exprgan with the extras train, render, onnx and dev into $(venv) ..."
	@$(pip) install --editable ".[train,render,onnx,dev]"
	@touch $@

# Programs that the app does not need, in an environment of their own.
$(tools)/bin/%: | $(venv)/bin/pip
	@[ -x $(tools)/bin/pip ] || $(python) -m venv $(tools)
	@$(tools)/bin/pip --quiet --quiet --disable-pip-version-check --no-input install $*

$(venv)/bin/pip:
	@for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python3.10); do \
	  "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || continue; \
	  if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "Making $(venv) with $$("$$candidate" --version) ..."; \
	    "$$candidate" -m venv $(venv) && exit 0 || exit 1; \
	  fi; \
	  bare="$$candidate"; \
	done; \
	if [ -n "$$bare" ]; then \
	  echo "$$bare cannot make virtual environments: its venv or ensurepip module is missing."; \
	  echo "On Debian and Ubuntu: apt install python3-venv. Or name another Python: make PYTHON=/path/to/python"; \
	else \
	  echo "$(if $(PYTHON),PYTHON=$(PYTHON) is no Python 3.10 or newer,No Python 3.10 or newer was found)."; \
	  echo "Install one, or name one: make PYTHON=/path/to/python"; \
	fi >&2; \
	exit 1
