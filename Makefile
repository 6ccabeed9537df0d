# `make demo` and `make test` need Python 3.11 or newer, git and make; everything else is installed into .venv.
# `make demo CPU=1`, or any other target with it, installs torch without CUDA, and later ones keep to that.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CPU ?= $(wildcard $(VENV)/.cpu)
CPU_INDEX := https://download.pytorch.org/whl/cpu
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-fast test-arithmetics lint bench clean
.DEFAULT_GOAL := demo

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(if $(CPU),$(BIN)/python -m pip install --quiet --index-url $(CPU_INDEX) $(shell grep -E '^torch(vision)?==' constraints.txt))
	$(if $(CPU),touch $(VENV)/.cpu)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,postgresql]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/oracle run oracle/examples/digits.yaml
	@echo 'The command is $(BIN)/oracle; ". $(BIN)/activate" puts it on the PATH.'

test: $(VENV)/.installed lint
	$(BIN)/python -m pytest --numprocesses 2

test-fast: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2

test-arithmetics: $(VENV)/.installed
	tests/arithmetics.sh

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks.throughput

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
