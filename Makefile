# The only list of tasks. Each target does its own set-up in $(VENV).
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.rarefault-ready
BENCH_VENV ?= .venv-bench
MOSQUITTO := $(shell PATH="$$PATH:/usr/sbin:/usr/local/sbin" command -v mosquitto 2>/dev/null)
MOSQUITTO_SUB := $(shell command -v mosquitto_sub 2>/dev/null)
STRACE := $(shell command -v strace 2>/dev/null)
CHROMIUM := $(shell command -v chromium 2>/dev/null)
FAKETIME := $(wildcard /usr/lib/*/faketime/libfaketimeMT.so.1 /usr/lib*/faketime/libfaketimeMT.so.1)
SYSTEM := $(if $(MOSQUITTO),,mosquitto) $(if $(MOSQUITTO_SUB),,mosquitto-clients) $(if $(FAKETIME),,faketime) $(if $(STRACE),,strace) $(if $(CHROMIUM),,chromium)

.DEFAULT_GOAL := help
.PHONY: help setup system check unit test docs tutorial demo bench bench-faults bench-quality bench-curve bench-novelty bench-front bench-speed bench-shapes bench-training bench-training-memory bench-files pages clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(STAMP) ## virtual environment with everything for development

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "rarefault needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

system: ## the MQTT broker that the tests start, its clients, what sets a daemon's clock, what watches its connections, a browser
ifneq ($(strip $(SYSTEM)),)
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SYSTEM); \
	elif [ -z "$(MOSQUITTO)" ] || [ -z "$(MOSQUITTO_SUB)" ] || [ -z "$(FAKETIME)" ] || [ -z "$(CHROMIUM)" ]; then \
	  echo "The tests need the MQTT broker Mosquitto, its clients, libfaketime and Chromium: sudo apt-get install $(strip $(SYSTEM))" >&2; \
	  exit 1; \
	fi
endif

check: setup ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Tests run side by side in so many processes, those of one file in one; 0: in one process.
TEST_JOBS ?= 2
# The tests that need none of this; tests/harness/marks.py marks them.
UNIT := not broker and not data and not training and not slow

unit: setup ## the quick tests: no broker, no real data, no training; under a minute
	$(BIN)/python -m pytest -m "$(UNIT)" --hypothesis-profile=unit -n $(TEST_JOBS) --dist loadfile $(PYTEST_ARGS)

test: setup system ## all tests; those on real data need RAREFAULT_DATA
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile $(PYTEST_ARGS)

docs: setup ## the documentation as a site, in site/; links and anchors are checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

tutorial: setup system ## the commands of docs/tutorial.md, one after the other, as they stand there
	$(BIN)/python -m pytest tests/docs/test_tutorial.py $(PYTEST_ARGS)

demo: setup ## everything on one machine: simulate, train, export, serve, compare
	$(BIN)/rarefault demo $(DEMO_ARGS)

bench: setup ## the measurements
	$(BIN)/python -m benchmarks.footprint --json benchmarks/results/footprint.json
	@if [ -n "$$RAREFAULT_DATA" ]; then $(BIN)/python -m benchmarks.served; \
	  else echo "RAREFAULT_DATA is not set: what is served is not measured"; fi

bench-faults: setup system ## kill, freeze and starve daemon and broker, set clocks, and count what is lost (--quick: FAULTS_ARGS)
	$(BIN)/python -m benchmarks.faults $(FAULTS_ARGS)

bench-quality: $(BENCH_VENV)/.ready ## every method on the same blocks; hours (--quick and more: QUALITY_ARGS)
	@[ -n "$$RAREFAULT_DATA" ] || { \
	  echo "RAREFAULT_DATA is not set: it names the folder that holds phm2015/ and tep/" >&2; exit 1; }
	$(BENCH_VENV)/bin/python -m benchmarks.quality $(QUALITY_ARGS)

bench-curve: $(BENCH_VENV)/.ready ## what a model scores by the days of its history; hours (CURVE_ARGS)
	$(BENCH_VENV)/bin/python -m benchmarks.learning_curve $(CURVE_ARGS)

bench-novelty: $(BENCH_VENV)/.ready ## what is predicted of a fault that training has never seen
	$(BENCH_VENV)/bin/python -m benchmarks.novelty

bench-front: $(BENCH_VENV)/.ready ## what the presets score, and what a verdict costs with each; hours
	$(BENCH_VENV)/bin/python -m benchmarks.front

bench-speed: setup system ## the daemon beside what one would write by hand; an hour (--quick and more: SPEED_ARGS)
	$(BIN)/python -m benchmarks.speed $(SPEED_ARGS)

bench-training: $(BENCH_VENV)/.ready ## time and quality of a training on a million samples, beside LightGBM; an hour (--scale 0.05: TRAINING_ARGS)
	$(BENCH_VENV)/bin/python -m benchmarks.training $(TRAINING_ARGS)

bench-shapes: setup system ## what messages of each shape cost, and whether a recording agrees (--before FOLDER: SHAPES_ARGS)
	$(BIN)/python -m benchmarks.shapes $(SHAPES_ARGS)

bench-files: setup ## what reading a CSV file of 1 GB costs, beside polars' own reading (FILES_ARGS)
	$(BIN)/python -m benchmarks.files $(FILES_ARGS)

bench-training-memory: setup ## memory of a training on a history, and on one ten times as long
	$(BIN)/python -m benchmarks.training_memory

pages: setup ## the tables of the documentation, filled in from the results
	$(BIN)/python -m benchmarks.pages $(PAGES_ARGS)

# An environment of its own: what is compared with needs an older NumPy.
$(BENCH_VENV)/.ready: pyproject.toml benchmarks/quality/constraints.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c benchmarks/quality/constraints.txt -e '.[bench]'
	@touch $@

clean: ## remove what the targets made
	rm -rf $(VENV) $(BENCH_VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis demo runs dist site
