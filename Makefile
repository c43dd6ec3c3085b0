# Two commands do all of the set-up on a machine with Python, make and a C++ compiler:
#   make reproduce   environment, install, data, the four experiments, the page
#   make test        environment, install, lint, types, import rules, tests

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install reproduce test lint docs bench sanitize kills mutants format clean

help:
	@sed -n '2,3s/^# *//p' Makefile

install: $(INSTALLED)

$(INSTALLED): pyproject.toml CMakeLists.txt $(wildcard native/kernel/* native/python/*)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

# DATA=DIR takes CIFAR-10 from a folder, DATA=digits needs no network; ARGS go to the command.
reproduce: $(INSTALLED)
	$(BIN)/onelayer reproduce $(if $(DATA),--data $(DATA)) $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(INSTALLED) lint
	@scripts/install-browser || true
	$(BIN)/pytest --cov --cov-report=term
	@scripts/install-browser --check

# The documentation site, site/index.html: opens as a file, needs no network; warnings are errors.
# (No --quiet: it hides the warnings from --strict too.)
docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Against NumPy, PyTorch, JAX and scikit-learn, one process each; ARGS=--quick for a short look.
bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m benchmarks $(ARGS)

# The kernel alone under the sanitizers: memory and undefined behaviour, then data races.
sanitize: $(INSTALLED)
	$(BIN)/python -m pip install --quiet cmake ninja
	scripts/sanitize-kernel $(BIN)/python

# Kill a sweep 100 times at random moments, resume it, compare its bytes. About five minutes.
kills: $(INSTALLED)
	$(BIN)/python -m tests.kill $(or $(ARGS),100)

# Break the kernel in one place after the other; the suite must notice. About seven minutes.
mutants: $(INSTALLED)
	$(BIN)/python -m pip install --quiet cmake ninja nanobind
	$(BIN)/python -m tests.native.mutate

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist site .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
