# make quickstart   from a fresh clone to a trained model and its report
# make test         lint, types and the fast tests
# make test-slow    the tests that take minutes
# make lint         ruff and mypy alone
# make clean        remove the virtual environment and every cache
#
# Everything happens in $(VENV). Set-up is stamped with a checksum of pyproject.toml and constraints.txt, so a second call
# is immediate and a changed pin is installed at once. PYTHON=/path/to/python3.12 chooses the interpreter. The fast tests
# run in two processes, each test file in one of them.

VENV ?= .venv
PYTHON ?=
BIN := $(VENV)/bin
PINS := $(shell cat pyproject.toml constraints.txt | cksum | tr ' ' '-')

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-slow lint clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \(make.*\)/\1/p' Makefile

quickstart: $(VENV)/.train-$(PINS)
	$(BIN)/coderl train quickstart

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.dev-$(PINS)
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev-$(PINS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# Both stamps share one environment: `train` is what a user needs, `dev` adds what the tests need.
$(VENV)/.train-$(PINS): $(BIN)/python
	$(call install,train)

$(VENV)/.dev-$(PINS): $(BIN)/python
	$(call install,train$(comma)docker$(comma)serve$(comma)label$(comma)dev)

comma := ,
define install
@echo "Installing .[$(1)] into $(VENV): about two minutes; 1.7 GB on disk, several more if torch comes with CUDA"
@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(1)]'
@touch $@
endef

# The pins are tested on 3.11, so that one comes first. Debian ships Python without ensurepip: root gets the package,
# others are told its name. An unfinished environment is removed, never reused.
$(BIN)/python:
	@set -eu; \
	supported='import sys; sys.exit(sys.version_info < (3, 11))'; \
	chosen=; seen=; \
	for name in $(if $(PYTHON),$(PYTHON),python3.11 python3.12 python3.13 python3); do \
	    path=$$(command -v "$$name" 2>/dev/null) || continue; \
	    version=$$("$$path" --version 2>&1) || continue; \
	    if "$$path" -c "$$supported" 2>/dev/null; then chosen=$$path; break; fi; \
	    seen="$$seen $$version ($$path);"; \
	done; \
	if [ -z "$$chosen" ]; then \
	    echo "coderl needs Python 3.11 or newer; found:$${seen:- none}" >&2; \
	    echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
	    exit 2; \
	fi; \
	if ! "$$chosen" -c 'import ensurepip, venv' 2>/dev/null; then \
	    package=$$("$$chosen" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	        echo "$$chosen has no ensurepip: installing the package $$package"; \
	        apt-get update -qq && apt-get install -y -qq --no-install-recommends "$$package" >/dev/null; \
	    else \
	        echo "$$chosen cannot make virtual environments; install its package, e.g. apt-get install $$package" >&2; \
	        exit 2; \
	    fi; \
	fi; \
	echo "Creating $(VENV) with $$("$$chosen" --version)"; \
	"$$chosen" -m venv $(VENV) || { rm -rf $(VENV); exit 2; }
