# make app     the app, on http://127.0.0.1:7860
# make test    the tests, on the CPU (ARGS="-k editor" picks some, JOBS=4 runs more at once)
# make lint    ruff's rules, its formatting, and the library's types (mypy)
# make docs    the API reference, made of the docstrings: build/docs/exprgan.html
# make clean   removes all that make made: the virtual environment, caches, build files
#
# PYTHON=/path/to/python chooses the interpreter of a new .venv; otherwise the first Python >= 3.10 found.

PYTHON ?=
JOBS   ?= 2
ARGS   ?=

venv   := .venv
python := $(venv)/bin/python
pip    := $(python) -m pip --quiet --quiet --disable-pip-version-check --no-input

.PHONY: help app test lint docs clean

help:
	@sed -n 's/^# make /make /p' Makefile

# No call home from gradio or the Hub's client. (The Hub itself is asked for weights that are not here yet.)
app: $(venv)/.app-installed
	GRADIO_ANALYTICS_ENABLED=False HF_HUB_DISABLE_TELEMETRY=1 $(python) app.py

# A worker keeps to its share of the cores (tests/conftest.py); a file's tests stay together, so its fixtures are made once.
test: $(venv)/.test-installed
	CUDA_VISIBLE_DEVICES= $(python) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

lint: $(venv)/.test-installed
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy

docs: $(venv)/.test-installed
	$(python) docs/build_reference.py
	@echo build/docs/exprgan.html

clean:
	rm -rf $(venv) *.egg-info build dist .gradio .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: pip runs again only when the lists changed. An environment that is here already is topped up, never emptied.
$(venv)/.app-installed: requirements.txt | $(venv)/bin/pip
	@echo "Installing requirements.txt into $(venv) (the first time: a few GB, some minutes) ..."
	@$(pip) install -r requirements.txt
	@touch $@

$(venv)/.test-installed: pyproject.toml $(venv)/.app-installed
	@echo "Installing exprgan with the extras train, render, onnx and dev into $(venv) ..."
	@$(pip) install --editable ".[train,render,onnx,dev]"
	@touch $@

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
