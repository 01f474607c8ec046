# Every target that needs it makes .venv by itself. PYTHON=python3.11 make ... names the Python to make it with;
# DETECTRON2_SOURCE=DIR make ... uses the detectron2 of a checkout instead of the installed one.
PYTHON ?= python3
# Options for the program behind a target: make demo ARGS="...", make test ARGS="-k trainer"
ARGS ?=
PY := .venv/bin/python
PYTEST := $(PY) -m pytest -n auto --maxprocesses 4 --dist worksteal

# Processes share the cores: threads that spin while they wait would slow each other down.
export OMP_WAIT_POLICY := PASSIVE

ifneq ($(DETECTRON2_SOURCE),)
D2_ROOT := $(abspath $(DETECTRON2_SOURCE))
ifeq ($(wildcard $(D2_ROOT)/detectron2/__init__.py),)
$(error DETECTRON2_SOURCE=$(DETECTRON2_SOURCE) has no detectron2/__init__.py: give the root of a checkout of detectron2)
endif
export PYTHONPATH := $(D2_ROOT)$(if $(PYTHONPATH),:$(PYTHONPATH))
endif

.PHONY: help venv demo demo-compare demo-pseudo test test-all lint format clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 : \2/p' Makefile

demo: venv ## train on sample scenes with MCLGS, and write a report
	$(PY) tools/demo.py $(ARGS)

demo-compare: venv ## the same, beside SimpleTrainer, equal weights and constant predictions
	$(PY) tools/demo.py --compare $(ARGS)

demo-pseudo: venv ## two teachers label what is not labelled, and a student learns from it
	$(PY) tools/demo_pseudo.py $(ARGS)

test: venv which-detectron2 ## run the tests, but for the slow ones
	$(PYTEST) -m "not slow" $(ARGS)

test-all: venv which-detectron2 ## run all tests
	$(PYTEST) $(ARGS)

lint: venv ## check style, format and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: venv ## mend format and what else ruff can
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

venv: ## make .venv, or bring it up to date
	@PYTHON='$(PYTHON)' sh tools/make_venv.sh

clean: ## remove .venv, build products and caches
	rm -rf .venv .venv.discarded build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: which-detectron2
which-detectron2: venv
	@$(PY) -c "from importlib.util import find_spec; print('detectron2:', find_spec('detectron2').origin)"

test test-all: export OMP_NUM_THREADS := 1
test test-all: export MKL_NUM_THREADS := 1
