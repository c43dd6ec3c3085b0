# Two commands do all of the set-up on a machine with Python, make and a C++ compiler:
#   make reproduce   environment, install, data, the four experiments, the page
#   make test        environment, install, lint, types, import rules, tests
# While you work: make check runs everything but the slow tests.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEVELOPS := $(VENV)/.develops
# Test processes; each file of tests runs in one of them.
WORKERS ?= 2
SOURCES := pyproject.toml CMakeLists.txt $(wildcard native/kernel/* native/python/*)

.PHONY: help install dev reproduce check lint test coverage docs bench bench-check sanitize arm fuzz faults kills bounds mutants wheels
.PHONY: oldest newest format clean

help:
	@sed -n '2,4s/^# *//p' Makefile

install: $(INSTALLED)

# What the job needs and nothing else: no PyTorch, no test tools.
$(INSTALLED): $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

dev: $(DEVELOPS)

$(DEVELOPS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

# DATA=DIR takes CIFAR-10 from a folder, DATA=digits needs no network; ARGS go to the command.
reproduce: $(INSTALLED)
	$(BIN)/onelayer reproduce $(if $(DATA),--data $(DATA)) $(ARGS)

lint: $(DEVELOPS)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# For every edit: lint, types, import rules and the fast tests, each property on a fifth of its
# examples, in a minute and a half. The arrays are small: a second thread of BLAS only waits for the
# first, and doubles the time.
check: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m "not slow" --hypothesis-profile quick -n $(WORKERS) --dist loadfile $(ARGS)

# For every change that is handed in: everything, in ten minutes; files of slow tests first, so that
# the processes end together.
test: lint
	@scripts/install-browser || true
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)
	@scripts/install-browser --check

# The same tests, and which lines of the package they run: half as long again.
coverage:
	$(MAKE) test ARGS="--cov --cov-report=term $(ARGS)"

# The documentation site, site/index.html: opens as a file, needs no network; warnings are errors.
# (No --quiet: it hides the warnings from --strict too.)
docs: $(DEVELOPS) docs/page-light.png
	$(BIN)/python -m pip install --quiet --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The picture of the page, light and dark, drawn anew when the page's code has changed.
docs/page-light.png: $(wildcard src/onelayer/report/*) scripts/page_pictures.py | $(DEVELOPS)
	@scripts/install-browser || true
	$(BIN)/python scripts/page_pictures.py
	@touch $@

# Against NumPy, PyTorch, JAX and scikit-learn, one process each; ARGS=--quick for a short look.
bench: $(DEVELOPS)
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m benchmarks $(ARGS)

# Ratios to peers beside the kept ones of this processor: fails on a loss of more than 15 %.
bench-check: $(DEVELOPS)
	$(BIN)/python -m benchmarks --check

# The kernel alone under the sanitizers (memory, undefined behaviour, data races), and built by Clang.
sanitize: $(DEVELOPS)
	$(BIN)/python -m pip install --quiet cmake ninja
	scripts/sanitize-kernel $(BIN)/python

# The kernel alone for ARM, in an emulator: the same bits as here. About a minute.
arm: $(DEVELOPS)
	$(BIN)/python -m pip install --quiet cmake ninja
	scripts/arm-kernel $(BIN)/python

# Kill a sweep 100 times at random moments, resume it, compare its bytes. About five minutes.
kills: $(DEVELOPS)
	$(BIN)/python -m tests.kill $(or $(ARGS),100)

# Every reader on 2000 damaged files of each format, ARGS for another number. About three minutes.
fuzz: $(DEVELOPS)
	$(BIN)/python -m tests.fuzz $(ARGS)

# Full disks, failing writes, kills, signals, truncated rows, links, devices, names, environments and
# flipped bits against every command, 250 in all; ARGS for another number. About ninety seconds.
faults: $(DEVELOPS)
	$(BIN)/python -m tests.faults $(ARGS)

# Bounds of 5000 random problems of all kinds against better solutions, ARGS for another number. About
# three minutes.
bounds: $(DEVELOPS)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.solver.bounds $(ARGS)

# Break the kernel in one place after the other; the suite must notice. About half an hour; ARGS for some files of it.
mutants: $(DEVELOPS)
	$(BIN)/python -m pip install --quiet cmake ninja nanobind
	$(BIN)/python -m tests.native.mutate $(ARGS)

# The source distribution and the Linux wheels, dist/: built by python3.11 and python3.12, or PYTHONS, and
# checked. ARGS=--twice builds again and compares the bytes. About five minutes, or twice that.
wheels: $(DEVELOPS)
	$(BIN)/python -m pip install --quiet --group wheels
	$(BIN)/python scripts/wheels.py $(ARGS) $(PYTHONS)

# The fast tests with the oldest and with the newest versions that pyproject.toml admits, each in an
# environment of its own. The oldest need Python 3.11. About four minutes each.
oldest: PINS = -c build/oldest.txt
oldest newest: $(SOURCES)
	$(PYTHON) -m venv --clear build/$@
	build/$@/bin/python -m pip install --quiet --upgrade pip
	build/$@/bin/python scripts/lower_bounds.py > build/oldest.txt
	build/$@/bin/python -m pip install --quiet $(PINS) --editable '.[sklearn,onnx,hdf5,zarr]' --group test
	OMP_NUM_THREADS=1 build/$@/bin/pytest -q -m "not slow" -n $(WORKERS) --dist loadfile $(ARGS)

format: $(DEVELOPS)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist site .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
