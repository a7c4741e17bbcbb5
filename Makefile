# Everything from a clean clone with Python 3.11, g++ and make. `make demo` and `make test` do all the set-up.

PYTHON ?= $(shell command -v python3.11 || echo python3)
TORCH  ?= torch==2.13.0
PIP    := -m pip install --quiet --disable-pip-version-check

# One thread a process: the tests run in two, and timings are of one.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

BIN   := .venv/bin
BENCH := .venv-bench/bin
CLIENTS := .venv-clients/bin

.PHONY: help demo gallery test check bench surface clients trust soak docs wheel matrix clean

help:
	@echo "make demo    fit eighteen batters, with a verdict, and score the rest of their season: batting.png"
	@echo "make gallery seven analyses of real data, in full: what they print and draw, in build/gallery"
	@echo "make test    all tests, in two processes"
	@echo "make check   format, lint, types, and the contracts of the house: layers, cycles, private names, sizes"
	@echo "make bench   times of a step, eager and compiled: Ember, Pyro, hand-written torch, NumPyro (ARGS=--quick: does it run?)"
	@echo "make trust   fit posteriors whose truth is known, with several seeds: are the verdicts right? (ARGS=NAME ...: some of them)"
	@echo "make surface Pyro's public names beside Ember's: docs/surface.md (ARGS=--names pyro.infer lists those that differ)"
	@echo "make clients scvi-tools, cell2location, CellBender, chirho, GPyTorch and pyroved on Ember, beside pyro-ppl: docs/from-pyro.md"
	@echo "make soak    break things at random for an hour (SECONDS=3600): threads, signals, kills, full disks, forks, many programs"
	@echo "make docs    the site, in build/site"
	@echo "make wheel   wheel and sdist, in build/dist; the README's first program run from the wheel in an empty environment"
	@echo "make matrix  the tests on the oldest, the pinned and the newest torch, on several Pythons: docs/versions.md"
	@echo "make clean   remove the environments and caches"

# A stamp is a file that records an installation; it is older than pyproject.toml when that has changed.
.venv/torch.stamp:
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) $(TORCH)
	@touch $@

.venv/%.stamp: .venv/torch.stamp pyproject.toml
	$(BIN)/python $(PIP) --editable '.[$*]'
	@touch $@

.venv-bench/torch.stamp:
	$(PYTHON) -m venv .venv-bench
	$(BENCH)/python $(PIP) $(TORCH)
	@touch $@

.venv-bench/bench.stamp: .venv-bench/torch.stamp pyproject.toml
	$(BENCH)/python $(PIP) --editable '.[bench]'
	@touch $@

demo: .venv/examples.stamp
	$(BIN)/python examples/batting.py

gallery: .venv/gallery.stamp
	$(BIN)/python -m tools.site.gallery

test: .venv/test.stamp .venv/examples.stamp .venv/gallery.stamp
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: .venv/test.stamp .venv/check.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tools
	$(BIN)/lint-imports
	$(BIN)/python -m tools.house
	$(BIN)/python -m tools.draw_house --check
	$(BIN)/python -m tools.typed_programs

bench: .venv-bench/bench.stamp
	$(BENCH)/python -m benchmarks.eager $(filter --quick,$(ARGS))
	$(BENCH)/python -m benchmarks.compiled $(ARGS)
	$(BENCH)/python -m benchmarks.guides_objectives $(ARGS)
	$(BENCH)/python -m benchmarks.rows $(filter --quick,$(ARGS))
	$(BENCH)/python -m benchmarks.same_models
	$(BENCH)/python -m benchmarks.larger_models $(ARGS)
	$(BENCH)/python -m benchmarks.fit $(filter --quick,$(ARGS))
	$(BENCH)/python -m benchmarks.training $(filter --quick,$(ARGS))
	$(BENCH)/python -m benchmarks.pyro_world $(filter --quick,$(ARGS))

trust: .venv/test.stamp
	$(BIN)/python -m tools.trust
	$(BIN)/python -m tools.trust.calibration
	$(BIN)/python -m tools.trust.references $(ARGS)

surface: .venv-bench/bench.stamp
	$(BENCH)/python -m tools.surface $(ARGS)

# Libraries written for Pyro, as they are published (ARGS=NAME ...: some of benchmarks/clients, without writing the page).
clients: .venv-clients/clients.stamp
	$(CLIENTS)/python -m benchmarks.clients $(ARGS)

.venv-clients/torch.stamp:
	$(PYTHON) -m venv .venv-clients
	$(CLIENTS)/python $(PIP) $(TORCH)
	@touch $@

# pyroved asks for torchvision to draw pictures; cell2location for a name that left Pyro in 1.9.2.
.venv-clients/clients.stamp: .venv-clients/torch.stamp pyproject.toml
	$(CLIENTS)/python $(PIP) --editable '.[clients]'
	$(CLIENTS)/python $(PIP) --no-deps pyroved==0.3.0
	$(CLIENTS)/python $(PIP) --no-deps --upgrade --target .venv-clients/pyro-1.9.1 pyro-ppl==1.9.1
	@touch $@

SECONDS ?= 3600

soak: .venv/test.stamp
	$(BIN)/python -m tools.soak --seconds $(SECONDS) $(ARGS)

# The site: pages of docs/ and a reference made of docstrings. Warnings are errors.
docs: .venv-docs/docs.stamp
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=src .venv-docs/bin/mkdocs build --quiet
	@echo "open build/site/index.html"

.venv-docs/torch.stamp:
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python $(PIP) $(TORCH)
	@touch $@

.venv-docs/docs.stamp: .venv-docs/torch.stamp pyproject.toml
	.venv-docs/bin/python $(PIP) --editable ".[docs]"
	@touch $@

wheel: .venv/package.stamp
	$(BIN)/python -m tools.wheel_check --torch "$(TORCH)"

# Builds of torch for CUDA take 5 to 7 GB each.
matrix: .venv/test.stamp
	$(BIN)/python -m tools.matrix $(ARGS)

clean:
	rm -rf .venv .venv-bench .venv-docs .venv-clients build/site build/dist build/matrix .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
