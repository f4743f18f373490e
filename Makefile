# `make` alone lists the commands. Everything is installed below this folder, nothing outside it.
SHELL := /bin/sh
.DEFAULT_GOAL := help
ifndef SIDE_BY_SIDE
.NOTPARALLEL:
endif
.PHONY: help demo test test-all toolchains install peer lint types test-most test-cores test-serial coverage slowest websocket hostile field cost soak relay-bench relay-peers conformance peers bench scale docs house pins clean

PYTHON ?= $(shell sh .ci/pythons | head -n 1)
VENV ?= .venv
ARGS ?=
# Twice the processors of a small machine: many tests wait, for a deadline or for another process.
WORKERS ?= 4
# Some machines forbid bytecode: then each of the hundreds of processes below compiles everything that it imports.
unexport PYTHONDONTWRITEBYTECODE

TOGETHER := $(MAKE) --no-print-directory -j2 SIDE_BY_SIDE=yes
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := .demo
PIP := -m pip --disable-pip-version-check --quiet
NO_PYTHON := no Python that can be used: this needs CPython 3.11 or newer with its venv and ensurepip modules (on Debian: the package python3-venv)
NO_INSTALL := the packages could not be installed, see above: this needs a package index within reach, and wheels of cryptography for this Python and machine

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(DEMO)/.installed  ## two processes meet: one asks, the other's firewall decides (ARGS="--answer no" refuses)
	@$(DEMO)/bin/stronghold-p2p demo $(ARGS)

$(DEMO)/.installed: pyproject.toml constraints.txt $(shell find stronghold_p2p -name '*.py')
	@test -n "$(PYTHON)" || { echo "$(NO_PYTHON)" >&2; exit 1; }
	@echo "installing into $(DEMO)/ (once) ..."
	@"$(PYTHON)" -m venv --clear $(DEMO)
	@$(DEMO)/bin/python $(PIP) install --prefer-binary -c constraints.txt . || { echo "$(NO_INSTALL)" >&2; exit 1; }
	@touch $@

test: toolchains  ## installs, then checks and tests everything that CI does
	@start=$$(date +%s); \
	$(TOGETHER) install peer && $(TOGETHER) lint && $(TOGETHER) types test-most && $(TOGETHER) test-serial && \
	echo "make test took $$(($$(date +%s) - start)) s"

toolchains:
	@command -v go >/dev/null || { echo "no go on this machine: the tests with go-libp2p are skipped"; test "$$CI" != true; }
	@{ command -v node && command -v npm; } >/dev/null || \
		{ echo "no node and npm on this machine: the tests with js-libp2p are skipped"; test "$$CI" != true; }

test-all:  ## make test on each CPython >= 3.11 of this machine
	@sh .ci/pythons | { while read -r python; do \
		minor=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		echo "== CPython $$minor"; \
		$(MAKE) test PYTHON="$$python" VENV=.cache/venv-$$minor </dev/null || exit 1; \
		tested="$$tested $$minor"; \
	done; test -n "$$tested" || { echo "$(NO_PYTHON)" >&2; exit 1; }; echo "== passed on$$tested"; }

install: $(STAMP)  ## the package (editable) and its tools into .venv

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "$(NO_PYTHON)" >&2; exit 1; }
	@echo "installing into $(VENV)/ ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	@$(BIN)/python $(PIP) install -c constraints.txt setuptools || { echo "$(NO_INSTALL)" >&2; exit 1; }
	@$(BIN)/python $(PIP) install -c constraints.txt --prefer-binary --no-build-isolation -e '.[dev,bench]' \
		|| { echo "$(NO_INSTALL)" >&2; exit 1; }
	@touch $@

peer:
	@test -n "$(PYTHON)" || exit 0; echo "building the other sides of the interoperability tests ..."; \
	"$(PYTHON)" -m harness.build && "$(PYTHON)" -m harness.build dns && "$(PYTHON)" -m harness.build caddy && "$(PYTHON)" -m tests.interop.build js

lint: install  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install  ## mypy --strict over the package, the tests, the benchmarks and what both use
	$(BIN)/mypy

test-most: install  ## all tests but those that measure time, with the coverage of the cores: at least 95 % of each
	$(call covered,)

test-cores: install  ## the tests of the cores, and their coverage
	$(call covered,$$($(BIN)/python -m tests.cores tests))

define covered
	@mkdir -p .cache/coverage
	$(BIN)/coverage erase
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q -m "not serial" -p tests.covered $(1)
	$(BIN)/python -m tests.cores coverage
endef

test-serial: install  ## the tests that measure time, one after the other
	$(BIN)/python -m pytest -q -m serial $$(grep -rl --include='test_*.py' 'mark\.serial' tests)

coverage: install  ## the coverage of the whole package by all tests but test-serial, and the lines of both
	$(BIN)/coverage erase
	-$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q -m "not serial" -p tests.whole $(ARGS)
	$(BIN)/python -m tests.whole

peers: install  ## js, rust, litep2p and py against ours, over TCP and WebSocket; builds them first (minutes); needs cargo, node
	$(BIN)/python -m tests.interop.build js rust litep2p py
	INTEROP="js rust litep2p py" $(BIN)/python -m pytest -n 2 -q -m "not serial" tests/interop
	INTEROP="js rust" OVER=ws $(BIN)/python -m pytest -n 2 -q -m "not serial" tests/interop

slowest: install  ## the tests that take longest, one after the other (ARGS=tests/swarm: of these only)
	$(BIN)/python -m pytest -q --durations=40 $(ARGS)

websocket: install  ## the whole list of tests with real peers over WebSocket, in both roles (ARGS="-k go")
	OVER=ws $(BIN)/python -m pytest -n 2 --dist worksteal -q tests/interop $(ARGS)

hostile: install  ## every hostile row in full, one line each (ARGS="33 39": these rows only)
	$(BIN)/python -m tests.hostile $(ARGS)

field: install  ## what shows only in a namespace, on a slow link or without descriptors, one line each (ARGS=upload: this)
	$(BIN)/python -m tests.field $(ARGS)

cost: install  ## what strangers can make us pay: processor, bytes and log for their bytes, by layer (ARGS=yamux: of this)
	$(BIN)/python -m tests.hostile.cost $(ARGS)

relay-peers: install  ## circuits with go and js in every role, 200 requests of 64 bytes and of 64 KiB each
	RELAY_REQUESTS=200 $(BIN)/python -m pytest -q tests/interop/test_relay.py

conformance: install  ## ours and the Rust crate, both ways, into docs/conformance.md; needs cargo (ARGS=ask: these only)
	$(BIN)/python -m tests.conformance $(ARGS)

relay-bench: install  ## what a relay costs, ours and go's: bulk, reservations, circuits
	$(BIN)/python -m benchmarks.relay $(ARGS)

soak: install  ## requests while their connection is killed and cut (ARGS="--requests 1000000 --cuts 200" for more)
	$(BIN)/python -m tests.outcomes
	$(BIN)/python -m benchmarks.scale.soak $(ARGS)

bench: install  ## measures ours and the others side by side, writes benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.run $(ARGS)

scale: install  ## memory and scale of connections against their bars (ARGS=--write: into docs/performance.md)
	$(BIN)/python -m benchmarks.scale $(ARGS)

docs: install  ## writes the generated parts of the documentation anew
	$(BIN)/python -m tests.closure write
	$(BIN)/python -m tools.decisions write
	$(BIN)/python -m tools.diagrams write
	$(BIN)/python -m tools.options write
	$(BIN)/python -m tools.journey > .cache/journey.md && mv .cache/journey.md docs/journey.md

house: install  ## the rooms of the package, who imports whom, and what does not fit
	$(BIN)/python -m tools.house

pins: ## constraints.txt anew, with the newest version of everything
	@test -n "$(PYTHON)" || { echo "$(NO_PYTHON)" >&2; exit 1; }
	@"$(PYTHON)" -m venv --clear .cache/pins
	@.cache/pins/bin/python $(PIP) install --upgrade setuptools '.[dev,bench]'
	@head -n 1 constraints.txt > .cache/pins/new
	@.cache/pins/bin/python $(PIP) freeze --all --exclude pip --exclude stronghold-p2p >> .cache/pins/new
	@mv .cache/pins/new constraints.txt && rm -rf .cache/pins

clean:  ## removes everything that these commands made
	rm -rf .venv $(DEMO) .cache build dist *.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
