# Everything here builds what it needs in folders of its own; nothing has to be installed by hand
# but Python 3.11, a C++ compiler, make and perl (for Verilator).

# the first of these that is a Python 3.11; another by `make PYTHON=...`
IS_311 := import sys; sys.exit(sys.version_info[:2] != (3, 11))
PYTHON ?= $(shell for name in python3.11 python3 python; do \
  $$name -c '$(IS_311)' 2> /dev/null && echo $$name && exit; done; echo python3)
VENV := .venv
PEER := .venv-peer
BIN := $(VENV)/bin
DEMO ?= nvnmd_demo
# every file that the wheel holds, however deep; git need not be there
SOURCES := $(shell find nvnmd hdl mapping quantize sim boards -type f -not -path "*/__pycache__/*")

.PHONY: demo docs-check test quick lint types unit slow fuzz report-check peer bench bitstream route netlist soak proofs clean

# the whole chain on a small alloy; ends with the lines "RTL: ..." and "board: ..."
demo: $(VENV)/.wheel
	$(BIN)/nvnmd demo -o "$(DEMO)" --board sim

# what a change must pass
test: lint types unit

lint: $(VENV)/.wheel
	$(BIN)/ruff check .

# types of what is installed: from this folder mypy would see nvnmd/ alone
types: $(VENV)/.wheel
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p nvnmd

unit: $(VENV)/.wheel
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not peer"

# every command block of the tutorial and the how-to pages, run in a scratch folder
docs-check: $(VENV)/.wheel
	$(BIN)/python tests/docs/run_blocks.py

# for the loop while working: all but the tests that train or build gateware
quick: lint types
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not peer" --quick

# heavier proofs
slow: $(VENV)/.wheel
	$(BIN)/pytest -n 2 -m slow

# damaged files of every format, 10,000 each (the suite: 300); about an hour of one core
fuzz: $(VENV)/.wheel
	NVNMD_FUZZ=10000 $(BIN)/pytest -q tests/fuzz

# the report in Chromium, where that is installed; screenshots to look at in report-check/
report-check: $(VENV)/.wheel
	REPORT_CHECK=$(CURDIR)/report-check $(BIN)/pytest -m slow tests/reports/test_browser.py

# beside DeePMD-kit itself, which the tests call in its own environment (about 20 minutes of one core)
peer: $(VENV)/.wheel $(PEER)/.deps
	$(BIN)/pytest -m peer

# microseconds per atom beside DeePMD-kit's DeepPot (trains a model there first, some minutes)
bench: $(VENV)/.wheel $(PEER)/.deps
	$(BIN)/python benchmarks/backends.py --threads 1
	$(BIN)/python benchmarks/backends.py --threads 2

# a small model whose accelerator fits the ECP5 boards (some minutes)
SMALL_BOARD := bitstreams/model/nvnmd_qnn/model.nvnmd
$(SMALL_BOARD): examples/small_board.py | $(VENV)/.wheel
	rm -rf bitstreams/model
	$(BIN)/python examples/small_board.py -o bitstreams/model

# for the ECP5 boards, placed and routed: the link with an echo (some minutes), and the accelerator
# of a small model (about an hour of one core)
bitstream: $(VENV)/.synth $(SMALL_BOARD)
	$(BIN)/nvnmd build --echo --board ulx3s-85f --clock 50 -o bitstreams/ulx3s-85f-echo
	$(BIN)/nvnmd build --echo --board ecpix5-85f --clock 100 -o bitstreams/ecpix5-85f-echo
	$(BIN)/nvnmd build $(SMALL_BOARD) --preset tiny --board ulx3s-85f --clock 25 -o bitstreams/ulx3s-85f-tiny
	$(BIN)/nvnmd build $(SMALL_BOARD) --preset tiny --board ecpix5-85f --clock 25 -o bitstreams/ecpix5-85f-tiny

# the clock of each unit of the accelerator by itself on an ECP5-85F, three seeds (some hours of one
# core); what ended too early goes on where it was
route: $(VENV)/.synth
	mkdir -p route
	$(BIN)/python benchmarks/unit_clock.py --seeds 1 2 3 --at-least 80 --json route/units.json

# 20 atoms through the preset tiny as Yosys maps it to ECP5 cells (an hour of one core)
netlist: $(VENV)/.synth $(SMALL_BOARD)
	mkdir -p route
	$(BIN)/python benchmarks/netlist.py $(SMALL_BOARD) --preset tiny --atoms 20 --folder route/netlist

# 10,000 atoms per preset, version and system (days of one core); make soak ATOMS=500 for fewer.
# What ended too early goes on where it was
ATOMS ?= 10000
soak: $(VENV)/.wheel
	nice $(BIN)/python benchmarks/soak.py --atoms $(ATOMS) --folder soak

# arithmetic units are their integer definitions for every input (some minutes)
proofs: $(VENV)/.proofs
	$(BIN)/pytest -s -m proof tests/proofs

clean:
	rm -rf $(VENV) $(PEER) build dist .mypy_cache .pytest_cache .ruff_cache

# says at once what pip would say late and in other words
CHECK_PYTHON = @$(PYTHON) -c '$(IS_311)' 2> /dev/null || { echo "make: $(PYTHON) is \
$$($(PYTHON) --version 2>&1 | head -1), expected Python 3.11, the one that this project is tested \
with; name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }

$(VENV)/.deps: requirements.txt
	$(CHECK_PYTHON)
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt
	touch $@

$(VENV)/.synth: $(VENV)/.wheel requirements-synth.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-synth.txt
	touch $@

$(VENV)/.proofs: $(VENV)/.wheel requirements-proofs.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-proofs.txt
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
	$(CHECK_PYTHON)
	rm -rf $(PEER)
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements-peer.txt
	touch $@
