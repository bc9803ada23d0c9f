# The few commands of this project; README and CI use no others.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: setup repro test lint experiments experiments-ci readme up-to-date

setup: $(READY)

# Made once, and again when what is to be installed changes; a killed installation leaves no .ready and starts anew.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "offramp needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 2; }
	@echo "setting up $(VENV) (once, about a minute)"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt -e '.[pipeline,dev]'
	@touch $@

repro: $(READY)    ## run what is out of date of the pipeline
	@offramp check params.yaml
	@python -m studies
	@dvc repro -P

# Two processes, a file at a time; without the variable two trainings at once would spin on each other's cores.
test: $(READY)
	@OMP_WAIT_POLICY=PASSIVE python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(READY)
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports > .lint-imports.tmp || { cat .lint-imports.tmp; exit 1; }

experiments: $(READY)    ## measure again what results/ holds
	@python -m experiments.certificates.size
	@python -m experiments.certificates.boundary
	@python -m experiments.certificates.validity
	@python -m experiments.certificates.power
	@python -m experiments.joint_optimiser
	@python -m experiments.logits_throughput
	@python -m experiments.deployment
	@python -m experiments.quantisation
	@python -m experiments.backbones
	@python -m experiments.streaming
	@python -m experiments.predictive_vgg
	@python -m experiments.fresh_clone

experiments-ci: $(READY)    ## the seeded statistical experiments in short, a few minutes; writes nothing
	@python -m experiments.certificates.boundary --runs 200
	@python -m experiments.certificates.validity --runs 150
	@python -m experiments.certificates.power --runs 40

readme: $(READY)    ## write the measured numbers into README.md
	@python -m docs.readme README.md

# Committed results belong to the committed code and parameters: nothing but the always-run stages would run.
up-to-date: $(READY)
	@python -m docs.readme --check README.md
	@plan=$$(dvc repro -P --dry --allow-missing) || { echo "$$plan"; exit 1; }; \
	stale=$$(echo "$$plan" | grep "Running stage" | grep -vE "'(inputs|deployment/dvc.yaml:host)'"); \
	test -z "$$stale" || { echo "out of date, run make repro and commit the results:"; echo "$$stale"; exit 1; }
