# Set-up, demo, tests. Needs make and Python 3.11 or newer; everything is installed into .venv of this folder.
# Paths are relative throughout, so that the folder's own path may hold spaces.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
PY := .venv/bin/python
PYTEST := $(PY) -m pytest
# Files of tests side by side, one thread each: small models gain nothing by more. The browser's come one by one.
SIDE_BY_SIDE := OMP_NUM_THREADS=1 $(PYTEST) -n logical --maxprocesses 4 --dist loadfile
INSTALL := $(PY) -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt
QUIETLY := >>.venv/setup.log 2>&1 || { tail -n 25 .venv/setup.log >&2; exit 1; }
RECIPE := pyproject.toml constraints.txt
export TOKENIZERS_PARALLELISM ?= false
# Threads of OpenMP that wait for work by spinning slow small models down many times over on a busy machine.
export OMP_WAIT_POLICY ?= passive

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-slow test-js lab bench bench-gpu js lint clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: .venv/.base ## set up, invert three prompts of the packaged model, write demo.html
	@$(PY) -m inversescope_nb demo --out demo.html

test: .venv/.dev ## set up and run the tests (the browser's and the front end's where they can run)
	$(SIDE_BY_SIDE) -m "not slow and not third_party and not browser"
	$(PYTEST) -m "browser and not slow"
	@$(MAKE) --no-print-directory test-js

test-all: test test-slow ## the tests, and the slow ones

test-slow: .venv/.dev
	$(SIDE_BY_SIDE) -m "(slow or third_party) and not browser" || [ $$? -eq 5 ]  # 5: there are none
	$(PYTEST) -m "slow and browser" || [ $$? -eq 5 ]

# Node runs the front end's own tests; what they built is committed, so that nothing else needs it.
test-js:
	@if command -v npm >/dev/null 2>&1; then \
		cd js && npm ci --no-audit --no-fund --loglevel=error && npm run --silent check && npm test --silent; \
	elif [ -n "$$ISN_REQUIRE_BROWSER" ]; then echo "front-end tests: npm is missing" >&2; exit 1; \
	else echo "SKIPPED front-end tests: they need Node 20 or newer with npm"; fi

lab: .venv/.notebook ## open the notebooks in JupyterLab
	$(PY) -m jupyterlab notebooks/quickstart.ipynb

bench: .venv/.dev ## run the benchmarks; each prints a table
	@for f in benchmarks/bench_*.py; do echo "== $$f"; $(PY) "$$f" || exit 1; done
	$(PY) benchmarks/bench_gap.py --set ioi
	@if [ -d "$$ISN_THIRD_PARTY_MODELS/nanogpt-sort" ]; then \
		$(PY) benchmarks/bench_gap.py --model "$$ISN_THIRD_PARTY_MODELS/nanogpt-sort" --set letters; \
	else echo "SKIPPED the published sorter: ISN_THIRD_PARTY_MODELS names the folder that nanogpt-sort is in"; fi

bench-gpu: .venv/.dev ## on a machine with a GPU of 80 GB: its tests and benchmarks, to benchmarks/results/gpu_*.json
	$(PYTEST) tests/test_gpu.py
	$(PY) benchmarks/bench_large.py --name gpu_large
	@for f in sampling capture training; do $(PY) benchmarks/bench_$$f.py --device cuda --name gpu_$$f || exit 1; done

js: ## rebuild the notebook front end (needs Node 20 or newer)
	cd js && npm ci --no-audit --no-fund && npm run build

lint: .venv/.dev ## ruff
	$(PY) -m ruff check .
	$(PY) -m ruff format --check inversescope_nb tests benchmarks

clean: ## remove the environment and everything that was made here
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis test-results demo.html

.venv/.python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "no Python 3.11 or newer was found: install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; fi
	@echo "setting up .venv, once: some minutes, most of them for torch (log: .venv/setup.log)"
	@rm -rf .venv
	@"$(PYTHON)" -m venv .venv || { rm -rf .venv; \
		echo "python could not make .venv; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

.venv/.base: .venv/.python $(RECIPE)
	@$(INSTALL) -e . $(QUIETLY)
	@touch $@

.venv/.notebook: .venv/.base
	@echo "installing JupyterLab into .venv, once"
	@$(INSTALL) -e '.[notebook]' $(QUIETLY)
	@touch $@

.venv/.dev: .venv/.base
	@echo "installing what the tests need into .venv, once: a minute or two"
	@$(INSTALL) -e '.[dev]' $(QUIETLY)
	@touch $@
