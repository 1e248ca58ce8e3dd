# The commands of the project; `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: venv demo serve test check bench rivals chaos busy docs help

PY := .venv/bin/python
# A module is compiled once, not in each of the hundreds of processes that the tests start.
export PYTHONDONTWRITEBYTECODE :=
MINUTES ?= 5
PORT ?= 8000
TIMED := $(addprefix tests/,scenarios tiers processes examples chaos rivals benchmarks)
TYPED := src $(wildcard docs/grafana examples tests/typing tests/chaos tests/rivals)

# The first interpreter that really runs (a pyenv shim may not), is new enough and can make an environment.
SUITS := import sys, ensurepip; sys.exit(sys.version_info < (3, 11))
NAMES := python3 python3.13 python3.12 python3.11
FOUND = $(shell for p in $(or $(PYTHON),$(NAMES)); do \
	"$$p" -c "$(SUITS)" 2>/dev/null && echo "$$p" && break; done)

# uv takes seconds for what takes pip more than a minute: whoever has none on the PATH gets that of the lock into .venv.
# Where uv finds no packages (it reads no pip.conf), pip installs them, or says what is wrong.
PIP := $(PY) -m pip --disable-pip-version-check install -qq --no-compile
ifneq ($(shell command -v uv 2>/dev/null),)
WORKS   :=
CREATE   = uv venv --quiet --python "$(or $(PYTHON),>=3.11)" .venv
install  = uv pip install --quiet --python $(PY) $(1)
else
WORKS   := import pip
CREATE   = $(if $(FOUND),"$(FOUND)" -m venv .venv,{ $(NO_PYTHON); exit 1; }) && { $(GET_UV) 2>/dev/null || true; }
GET_UV   = sed -n '/^uv==/,/^ *\#/p' requirements/demo.txt | $(PIP) --only-binary :all: --require-hashes -r /dev/stdin
install  = .venv/bin/uv pip install --quiet --python $(PY) $(1) 2>/dev/null || $(PIP) $(1)
endif
NO_PYTHON = echo "venv: found no Python >= 3.11 with its venv module (tried $(or $(PYTHON),$(NAMES)))." \
	"On Debian or Ubuntu: apt install python3-venv. Elsewhere: make venv PYTHON=/path/to/python3.11, or install uv." >&2

venv: .venv/.dev  ## make .venv from the locks, with uv, which pip brings if it is not on the PATH

# What the example service and its demo need. The stamp comes last, so an environment without it is half-made and goes.
# One with an old stamp is brought up to date in place: somebody may be using it.
.venv/.ok: requirements/demo.txt pyproject.toml
	@[ -f $@ ] && $(PY) -c "$(WORKS)" 2>/dev/null || rm -rf .venv
	@[ -d .venv ] || { $(CREATE); }
	@echo "venv: installing requirements/demo.txt into .venv"
	@$(call install,--require-hashes -r requirements/demo.txt)
	@$(call install,--no-deps --no-build-isolation -e .)
	@touch $@
	@echo "venv: ready, $$($(PY) --version)"

# Beside that, what tests, checks and benchmarks need: the same versions, and more.
.venv/.dev: requirements/dev.txt .venv/.ok
	@echo "venv: adding requirements/dev.txt"
	@$(call install,--require-hashes -r requirements/dev.txt)
	@touch $@

demo: .venv/.ok  ## race three ways to cache: none, a TTL by hand, cascada; and kill their Redis (about a minute)
	@echo "demo: the same workload over HTTP for two workers of each"
	@$(PY) -m examples.agent_service.demo

serve: .venv/.ok  ## run the example service until Ctrl-C (PORT=)
	@echo "serve: starting the example service"
	@$(PY) -m examples.agent_service.serve --port $(PORT)

test: check  ## run check, then every test that is not in it
	@echo "test: pytest, in three parts beside each other (about 8 minutes)"
	@$(PY) -m tests.together --ignore=tests/house/test_house.py

check: venv  ## lint, format, types, layers and the rules of the house
	@$(MAKE) --no-print-directory --jobs 2 check-types check-style check-layers check-rules

check-types:
	@echo "check: mypy --strict $(TYPED)"
	@$(PY) -m mypy $(TYPED)

check-style:
	@echo "check: ruff check, ruff format"
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

check-layers:
	@echo "check: layers (import-linter)"
	@.venv/bin/lint-imports

check-rules:
	@echo "check: rules of the house"
	@$(PY) -m pytest --quiet tests/house/test_house.py

bench: venv  ## run benchmarks/ and write docs/benchmarks: a table, and a plot (about a quarter of an hour)
	@echo "bench: every script of benchmarks/ in turn"
	@$(PY) benchmarks/run.py
	@$(PY) benchmarks/comparison.py

rivals: venv  ## put other libraries under the checker, and write docs/comparison.md (about ten minutes)
	@echo "rivals: python benchmarks/rivals.py"
	@$(PY) benchmarks/rivals.py
	@$(PY) benchmarks/comparison.py

chaos: venv  ## attack every configuration for 5 minutes with several processes (MINUTES=, ARGS=)
	@echo "chaos: python -m tests.chaos, $(MINUTES) minutes for each configuration"
	@$(PY) -m tests.chaos --minutes $(MINUTES) $(ARGS)

busy: venv  ## run the timing-sensitive tests three times beside four busy processes (ARGS=)
	@echo "busy: python -m tests.beside"
	@$(PY) -m tests.beside --times 3 -- $(or $(ARGS),$(TIMED))

docs: venv  ## run every Python block of the documents and compare what it prints
	@echo "docs: pytest tests/documents"
	@$(PY) -m pytest tests/documents

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile
