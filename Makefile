# make demo | test-unit | test-device | test | test-faults | test-cluster | check: each makes .venv first where it is missing.
# `test` runs those of a Ray session beside those of whole commands: together they keep two CPUs busy.
PYTHON ?= python3
RUN = .venv/bin/python

.PHONY: demo test-unit test test-device test-ray test-commands test-faults test-cluster check setup clean
demo: setup
	$(RUN) -m pipelines.run configs/digits.yaml tracking.wandb=offline

test-unit: setup
	$(RUN) -m pytest tests/unit -n 2 -m 'not slow'

# what runs on GPUs, without one; part of `test-unit`
test-device: setup
	$(RUN) -m pytest tests/unit/training/test_gpu_paths.py tests/unit/cluster/test_placement.py -n 2

test: setup
	$(RUN) -m pytest tests/unit -n 2
	$(MAKE) -j2 test-ray test-commands

test-ray: setup
	$(RUN) -m pytest tests/ray

test-commands: setup
	$(RUN) -m pytest tests/e2e tests/faults

# clusters of several nodes on this machine; half an hour, no part of `test`
test-cluster: setup
	$(RUN) -m pytest tests/cluster

test-faults: setup
	rm -f .faults.json
	$(RUN) -m pytest tests/faults --faults .faults.json; status=$$?; $(RUN) tests/faults/table.py .faults.json docs/reliability.md; exit $$status

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/basedpyright
	$(RUN) -m pytest tests/unit/test_architecture.py

setup: .venv/.done

.venv/.done: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check --progress-bar off --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv runs
