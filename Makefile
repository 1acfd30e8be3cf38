# make results   install into .venv and reproduce the default study (STUDY=name for another)
# make test      install into .venv and run all tests
# make lint      style of Python and Snakemake files, and types
# make docs      the documentation as a site: docs/_build/html/index.html
# make golden-env   snnTorch and sinabs, each in an environment of its own, for the tests that compare with them
#
# PYTHON=...      Python 3.11 or newer
# TORCH_INDEX=... a package index with CPU builds of PyTorch, where the default index brings CUDA
PYTHON ?= $(shell command -v python3.11 || command -v python3)
STUDY ?= default
TORCH_INDEX ?=
BIN := .venv/bin
# Command that prints where an environment, of which the folder of programs is given, has its packages.
packages = $(1)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'

.PHONY: results test lint docs clean golden-env
results: .venv/installed
	$(BIN)/snakemake --workflow-profile workflow/profiles/local --config study=$(STUDY)
	@echo "open results/$(STUDY)/report.html"

# Where the libraries are installed, the tests compare with them.
test: .venv/installed
	$(foreach L,snntorch sinabs,$(if $(wildcard .venv-$(L)/installed),SPIKEPROOF_$(shell echo $(L) | tr a-z A-Z)_PYTHON=$(CURDIR)/.venv-$(L)/bin/python)) \
	$(BIN)/python -m pytest -n auto --dist worksteal

golden-env: .venv-snntorch/installed .venv-sinabs/installed

# What has the same version in .venv, torch above all, is not installed again: packages of their own come first.
.venv-%/installed: tests/golden/%.txt .venv/installed
	$(PYTHON) -m venv .venv-$*
	@$(call packages,$(BIN)) > "$$($(call packages,.venv-$*/bin))/shared.pth"
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-compile $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r $<
	@touch $@

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/mypy

# A link to nowhere is an error.
docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("spikeproof needs Python 3.11 or newer, not " + sys.version.split()[0] + ": set PYTHON to one") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@# A folder named spikeproof beside a user's script must not be taken for the package.
	@printf '%s\n' "$(CURDIR)/src" "$(CURDIR)/hdl" > "$$($(call packages,$(BIN)))/spikeproof.pth"
	@touch $@

clean:
	rm -rf .venv .venv-* results/data results/models results/logs results/default results/smoke scratch .snakemake
