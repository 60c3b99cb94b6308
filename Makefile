# make run    sets up .venv and trains a small agent on the CPU
# make test   sets up .venv and runs lint, types, import contracts and the fast tests
# make test-cluster   real SLURM on this machine, real PostgreSQL; needs root and their packages
# make test-slow, make format, make clean

PYTHON ?= python3.11
VENV   ?= .venv
EXTRAS := dmc,metaworld,natural,atari,crafter,plot,server,dev
# The CPU build of torch, where PyPI's CUDA build is not wanted:
# make run TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu"
TORCH_ARGS ?=
RUN_ARGS   ?=
WORKERS    ?= 2

# A small agent that learns on a CPU; docs/results shows where it is after 80,000 steps.
TINY_RUN := env.task=cartpole_swingup env.action_repeat=4 render=fast size=tiny device=cpu \
	training.train_every_agent_steps=2 algorithm.optimizer.model.lr=6e-4 \
	algorithm.optimizer.actor.lr=2e-4 algorithm.optimizer.critic.lr=2e-4

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
# An idle thread that spins steals the core from its neighbour.
export GOMP_SPINCOUNT ?= 10000

.PHONY: run test test-slow test-cluster lint types contracts fast slow format clean

run: $(VENV)/.installed
	$(BIN)/python -m harmony $(TINY_RUN) training.env_steps=16_000 \
		evaluation.every_env_steps=8_000 checkpoint.every_env_steps=8_000 $(RUN_ARGS)

test: lint types contracts fast

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

contracts: $(VENV)/.installed
	$(BIN)/lint-imports

fast: $(VENV)/.installed
	$(BIN)/python -m pytest -q -n $(WORKERS)

test-cluster: $(VENV)/.installed
	$(BIN)/python -m pytest -q -m "slurm or slow" --timeout=1800 tests/launch tests/integration/test_slurm.py

test-slow slow: $(VENV)/.installed
	$(BIN)/python -m pytest -q -m slow --timeout=1800

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH_ARGS) torch==2.13.0 -c constraints.txt
	$(PIP) -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
