# Everything runs in the virtual environment .venv, which is made when first needed.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long lint packages bench bench-micro docs fuzz

BIN := .venv/bin
READY := .venv/.ready
BENCH ?=
MICRO ?=
FUZZ_SECONDS ?= 60

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## make .venv and install the package with its tools into it

$(READY): pyproject.toml constraints.txt scripts/setup-venv.sh
	@scripts/setup-venv.sh

demo: $(READY)  ## show the main job on loopback, in seconds
	@$(BIN)/fastproxy demo

test: $(READY) packages lint  ## lint, types, import rules and all tests but the long ones
	$(BIN)/pytest -n 3 --dist loadfile

test-long: $(READY) packages  ## the tests that take minutes, and properties by examples of their own
	@scripts/setup-debian.sh long
	$(BIN)/pytest -m long
	HYPOTHESIS_PROFILE=search $(BIN)/pytest tests/wire tests/policy tests/net tests/config tests/proxy

lint: $(READY)  ## style, format, types and import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

packages:  # the Debian packages that tests and measurements need
	@scripts/setup-debian.sh

bench: $(READY) packages  ## measure against HAProxy, nginx and Envoy (BENCH=--quick for 3 minutes)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,bench]' -c constraints.txt
	$(BIN)/fastproxy bench $(BENCH)

bench-micro: $(READY)  ## measure single operations in process (MICRO="request seal" for some)
	$(BIN)/python -m tests.micro $(MICRO)

fuzz: $(READY)  ## fuzz the link's handshake and frames, guided by coverage (FUZZ_SECONDS=60 each)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,fuzz]' -c constraints.txt
	$(BIN)/python -m tests.fuzz.link_handshake --seconds $(FUZZ_SECONDS)
	$(BIN)/python -m tests.fuzz.link_frames --seconds $(FUZZ_SECONDS)

docs: $(READY)  ## write the pages that are made from code anew
	$(BIN)/python -m fastproxy.config.reference > docs/configuration.md
	$(BIN)/python scripts/errors_page.py > docs/errors.md
	$(BIN)/python -m fastproxy.bench.performance_page docs/performance.json > docs/performance.md
