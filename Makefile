# Every target sets up .venv by itself: it needs Python 3.11 or newer, and the package index once.
#   make PYTHON=python3.12 ...   chooses the Python
#   make PIP_FLAGS= ...          lets pip compile what it finds no wheel for (needs a C compiler)
#   make run ARGS='--port 8080'  passes options on to `deora start`; `make test ARGS=...` to pytest

.DEFAULT_GOAL := help
.PHONY: help run test check bench torture mutants bundle bundle-onefile clean FORCE

PYTHONS := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
PIP_FLAGS ?= --only-binary=:all:
# One runner more than there are cores: many tests wait for a process or for a pause to end.
RUNNERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 8 ? n + 1 : 8)))
STAMP := .venv/installed
BUNDLE_STAMP := build/venv/installed
BIN := .venv/bin
ARGS ?=

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

run: $(STAMP) ## start DEORA in the foreground on http://127.0.0.1:3000, data in ./data
	$(BIN)/deora start $(ARGS)

test: $(STAMP) ## all tests but the long ones
	$(BIN)/python -m pytest -n $(RUNNERS) --dist worksteal $(ARGS)

check: $(STAMP) ## style, types, direction of imports, house rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(wildcard deora bench examples packaging tests)
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_tidy.py

bench: $(STAMP) ## measure the figures, each beside its peer
	$(BIN)/python -m bench $(ARGS)

torture: $(STAMP) ## the tests that take minutes or hours
	$(BIN)/python -m pytest -m torture --timeout=0 $(ARGS)

mutants: $(STAMP) ## break each promise in a copy of the project: the tests must notice
	$(BIN)/python -m tests.mutants $(ARGS)

bundle: $(BUNDLE_STAMP) ## dist/: a program that needs no Python, as a folder, a tar.gz and a Debian package
	build/venv/bin/python packaging/bundle.py

bundle-onefile: $(BUNDLE_STAMP) ## dist/deora-onefile: a single file, to try DEORA with
	build/venv/bin/python packaging/bundle.py --onefile

clean: ## remove what make made; ./data and ./logs stay
	rm -rf .venv build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find deora tests packaging $(wildcard bench examples) -name __pycache__ -prune -exec rm -rf {} +

# $(call install,FOLDER,EXTRA): a virtual environment of this checkout, made again when the dependencies change.
define install
	@for python in $(PYTHONS); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        $$python packaging/bootstrap.py $(1) $(PIP_FLAGS) --editable '.[$(2)]' && touch $@; \
	        exit; \
	    fi; \
	done; \
	echo 'DEORA needs Python 3.11 or newer; tried: $(PYTHONS).' >&2; \
	echo 'Install it (Debian, Ubuntu: apt-get install python3) or name it: make PYTHON=/path/to/python3.12' >&2; \
	exit 1
endef

# Made also when the environment's Python is gone.
$(STAMP): pyproject.toml packaging/bootstrap.py $(shell test -x $(BIN)/python || echo FORCE)
	$(call install,.venv,dev)

$(BUNDLE_STAMP): pyproject.toml packaging/bootstrap.py $(shell test -x build/venv/bin/python || echo FORCE)
	$(call install,build/venv,bundle)
