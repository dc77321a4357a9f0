# Every target works in a fresh clone with Python >= 3.10: what it needs is installed into .venv first,
# and again only when pyproject.toml or PYTHON changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The interpreter's name is part of the stamp, so that `make test PYTHON=python3.12` doesn't quietly use the
# environment of another one.
CREATED := $(VENV)/.created-with-$(subst /,_,$(PYTHON))
EXAMPLE_INSTALLED := $(VENV)/.example-installed
TEST_INSTALLED := $(VENV)/.test-installed

# The embedded server is tested with these versions of W&B's SDK too, each in an environment of its own;
# the newest is that of $(VENV).
SDK_VENVS := .venv-wandb-0.19.11 .venv-wandb-0.22.3
SDK_STAMP := .installed-with-$(subst /,_,$(PYTHON))

# hydra-optuna-sweeper, which benchmarks compare with, needs another version of Optuna than this project.
BENCH_VENV := .venv-bench-optuna

ifndef OUTPUT_DIR
OUTPUT_DIR := multirun/example/$(shell date +%Y-%m-%d_%H-%M-%S)
endif

# Nothing here is to reach a real W&B account: no settings from the environment, and no login from ~/.netrc.
unexport $(filter WANDB_%,$(.VARIABLES))
export NETRC := /dev/null

# Thousands of processes are started; each would compile this project's modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help example test test-here test-cluster test-cluster-0 test-cluster-1 lint format types pictures docs wheel \
	install sdk-venvs browser bench bench-quick bench-venvs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

example: $(EXAMPLE_INSTALLED) ## sweep 24 configurations of example_app on this machine, without an account
	@echo "Output directory: $(OUTPUT_DIR)"
	$(BIN)/python example_app/train.py -m hydra/sweeper=wandb \
		epochs=10,50,30 batch_size=128 dropout=0.01,0.2,0.5,0.8 lr=1e-3,1e-4 \
		hydra.sweeper.server=local "hydra.sweep.dir='$(OUTPUT_DIR)'"
	@echo "Output directory: $(OUTPUT_DIR)"

test: $(TEST_INSTALLED) ## lint, check types, run the tests, and see whether the benchmarks run
	@# Downloads wait for the network while types are checked.
	@$(MAKE) --no-print-directory -j4 --output-sync=target lint types sdk-venvs browser
	@# The tests on clusters mostly wait, and so do benchmarks; side by side with the others they cost little time.
	@$(MAKE) --no-print-directory -j4 --output-sync=target test-here test-cluster-0 test-cluster-1 bench-quick

# A file's tests share servers. In the order of their names, files of many short tests come last, so that no process is
# left alone with the longest one at the end. One more than there are cores: some tests only wait.
test-here: $(TEST_INSTALLED) sdk-venvs browser ## only the tests that need no SLURM cluster
	$(BIN)/python -m pytest -n $$(($$(nproc 2>/dev/null || echo 2) + 1)) --dist loadfile --no-loadscope-reorder --ignore=tests/slurm \
		--durations=40 --durations-min=5

test-cluster: test-cluster-0 test-cluster-1 ## only the tests on SLURM clusters, which are brought up for them

# Two clusters share the tests, each one half of them.
ON_CLUSTER_1 := tests/slurm/test_deaths.py tests/slurm/test_dispatch.py tests/slurm/test_packing.py \
	tests/slurm/test_running_on_slurm.py

test-cluster-0: $(TEST_INSTALLED)
	$(BIN)/python -m tests.slurm.cluster run -- \
		$(BIN)/python -m pytest tests/slurm $(ON_CLUSTER_1:%=--ignore=%) -o timeout=900

test-cluster-1: $(TEST_INSTALLED)
	$(BIN)/python -m tests.slurm.cluster --number 1 run -- $(BIN)/python -m pytest $(ON_CLUSTER_1) -o timeout=900

bench: $(TEST_INSTALLED) bench-venvs ## measure, and write docs/benchmarks.md; only some: make bench ONLY="overhead fleet"
	$(BIN)/python benchmarks/all.py $(ONLY)

bench-quick: $(TEST_INSTALLED) ## only see whether the benchmarks run
	$(BIN)/python benchmarks/all.py --quick $(ONLY)

bench-venvs: $(BENCH_VENV)/$(SDK_STAMP) ## only install what benchmarks compare this project with

docs: $(TEST_INSTALLED) ## build the documentation's site into site/
	$(BIN)/python docs/scripts/settings_page.py
	$(BIN)/python docs/scripts/drawing.py
	$(BIN)/python -m mkdocs build --strict

lint: $(TEST_INSTALLED) ## check style
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(TEST_INSTALLED) ## put style right where that can be done automatically
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(TEST_INSTALLED) ## check types
	$(BIN)/mypy

pictures: $(TEST_INSTALLED) browser ## draw the pictures of terminals and pages in docs/images/
	$(BIN)/python -m tests.pictures

wheel: $(TEST_INSTALLED) ## build an sdist, and a wheel from it, into dist/
	$(BIN)/python -m build

install: $(TEST_INSTALLED) ## only install what the targets above need

sdk-venvs: $(SDK_VENVS:%=%/$(SDK_STAMP)) ## only install the older versions of W&B's SDK that the tests use

browser: $(TEST_INSTALLED) ## only install the browser that tests of web pages use
	@$(BIN)/python -m tests.browser.chromium

clean: ## remove all environments, built packages and caches
	rm -rf $(VENV) $(SDK_VENVS) $(BENCH_VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# --clear: an environment of another interpreter, or a half-made one, goes with its stamps.
$(CREATED):
	@command -v '$(PYTHON)' >/dev/null \
		|| { echo "PYTHON=$(PYTHON) was not found; name a Python >= 3.10: make … PYTHON=/path/to/python3" >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "PYTHON=$(PYTHON) is $$('$(PYTHON)' --version 2>&1), but Python >= 3.10 is needed:" \
			"make … PYTHON=python3.12" >&2; exit 1; }
	@'$(PYTHON)' -m venv --clear $(VENV) \
		|| { echo "$(PYTHON) can't make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
			exit 1; }
	@touch '$@'

$(EXAMPLE_INSTALLED): $(CREATED) pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[example]'
	@touch $@

$(TEST_INSTALLED): $(CREATED) pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

# wandb 0.19 imports pkg_resources, which setuptools had up to version 80.
$(SDK_VENVS:%=%/$(SDK_STAMP)): .venv-wandb-%/$(SDK_STAMP): $(CREATED)
	@'$(PYTHON)' -m venv --clear .venv-wandb-$*
	.venv-wandb-$*/bin/python -m pip install --quiet 'wandb==$*' 'setuptools<81'
	@touch '$@'

# The same versions of W&B and Hydra as in $(VENV). Where it can't be installed, the benchmark says so.
$(BENCH_VENV)/$(SDK_STAMP): $(TEST_INSTALLED)
	@'$(PYTHON)' -m venv --clear $(BENCH_VENV)
	-$(BENCH_VENV)/bin/python -m pip install --quiet hydra-optuna-sweeper \
		$$($(BIN)/python -m pip freeze | grep -E '^(hydra-core|omegaconf|wandb)==')
	@touch '$@'
