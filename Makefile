# Everything here builds what it needs in folders of its own; nothing has to be installed by hand
# but Python 3.11, a C++ compiler, make and perl (for Verilator).

PYTHON ?= python3
VENV := .venv
PEER := .venv-peer
BIN := $(VENV)/bin
DEMO ?= nvnmd_demo
SOURCES := $(wildcard nvnmd/*.py hdl/*.py mapping/*.py quantize/*.py sim/*.py boards/*.py)

.PHONY: demo test lint types unit slow peer bench clean

# the whole chain on a small alloy; ends with the line "RTL: ..."
demo: $(VENV)/.wheel
	$(BIN)/nvnmd demo -o $(DEMO)

# what a change must pass
test: lint types unit

lint: $(VENV)/.wheel
	$(BIN)/ruff check .

# types of what is installed: from this folder mypy would see nvnmd/ alone
types: $(VENV)/.wheel
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p nvnmd

unit: $(VENV)/.wheel
	$(BIN)/pytest -n 2 -m "not slow and not peer"

# heavier proofs
slow: $(VENV)/.wheel
	$(BIN)/pytest -n 2 -m slow

# beside DeePMD-kit itself, which the tests call in its own environment (about 20 minutes of one core)
peer: $(VENV)/.wheel $(PEER)/.deps
	$(BIN)/pytest -m peer

# microseconds per atom beside DeePMD-kit's DeepPot (trains a model there first, some minutes)
bench: $(VENV)/.wheel $(PEER)/.deps
	$(BIN)/python benchmarks/backends.py --threads 1
	$(BIN)/python benchmarks/backends.py --threads 2

clean:
	rm -rf $(VENV) $(PEER) build dist .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.deps: requirements.txt
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt
	touch $@

# a wheel, not an editable install: what is tested is what is shipped
$(VENV)/.wheel: $(VENV)/.deps pyproject.toml README.md LICENSE $(SOURCES)
	rm -rf build dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . > $(VENV)/build.log 2>&1 \
	  || { cat $(VENV)/build.log; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall dist/*.whl
	$(BIN)/pip check
	rm -rf build
	touch $@

$(PEER)/.deps: requirements-peer.txt
	rm -rf $(PEER)
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements-peer.txt
	touch $@
