# Tasks of the repository; `make` lists them. The work is in scripts/, which can be called directly too.
#
# PYTHON=/path/to/python3.12 make ...   builds for that interpreter instead of python3.

.PHONY: help run build setup check fmt gen test rust e2e versions fuzz soak bench wheel clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build, install into .venv, and serve the demo application on http://127.0.0.1:8000.
	@scripts/run

build: ## Build in the release profile and install into .venv.
	@scripts/build

test: ## Everything that CI runs: check, rust, e2e, versions, fuzz. Installs what it needs.
	@scripts/test

setup: ## Install what tests and checks need: Debian packages, pinned Python packages in .venv.
	@scripts/setup

check: setup ## rustfmt, clippy, ruff, mypy, drift of generated files.
	@scripts/check

fmt: setup ## Format Rust and Python.
	@scripts/fmt

gen: ## Write the generated files anew.
	@scripts/gen

rust: setup ## Tests of the Rust crates.
	@scripts/test-rust

e2e: setup build ## Tests of the installed server; single ones: scripts/test-e2e -k NAME
	@scripts/test-e2e

versions: setup build ## Build with pip and smoke-test on every CPython from 3.10 on that is here.
	@scripts/test-versions

soak: setup build ## Twenty minutes of everything at once: reloads, kills, slow clients, load.
	@scripts/soak

fuzz: ## Fuzz each target for a minute, all at once.
	@scripts/fuzz

bench: ## Measure Asteri beside its peers; takes long, and wants a quiet machine.
	@benches/run

wheel: ## Build a wheel for the interpreter of .venv into .venvs/wheels.
	@scripts/build

clean: ## Remove what was built and installed in the clone.
	rm -rf target fuzz/target .venv .venvs
