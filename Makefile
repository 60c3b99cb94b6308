# make run    sets up .venv and trains a small agent on the CPU
# make test   sets up .venv and runs lint, types, import contracts and the fast tests
# make test-slow, make format, make clean

PYTHON ?= python3.11
VENV   ?= .venv
EXTRAS := dmc,metaworld,plot,dev
# The CPU build of torch, where PyPI's CUDA build is not wanted:
# make run TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu"
TORCH_ARGS ?=
RUN_ARGS   ?=
WORKERS    ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
# An idle thread that spins steals the core from its neighbour.
export GOMP_SPINCOUNT ?= 10000

.PHONY: run test test-slow lint types contracts fast slow format clean

run: $(VENV)/.installed
	$(BIN)/python -m harmony env.task=cartpole_swingup env.action_repeat=4 render=fast size=tiny \
		training.env_steps=24_000 evaluation.every_env_steps=8_000 \
		checkpoint.every_env_steps=8_000 device=cpu $(RUN_ARGS)

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
