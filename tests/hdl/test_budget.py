"""The budget counts what the Verilog back end is given, and blocks as the vendors' shapes allow."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

pytest.importorskip("amaranth")

import numpy as np
from amaranth.back import rtlil
from support.random_type_models import random_type_model
from support.rtl_cases import small_accelerator, small_model
from support.sized_models import sized_model

from nvnmd.hdl.arith.multiplier import Multiplier
from nvnmd.hdl.budget import BLOCK_BITS, FAMILIES, count_budget, count_elaborated, total
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.memories import is_shallow
from nvnmd.hdl.presets import preset
from nvnmd.hdl.resources import UNITS

ECP5, SERIES7, ULTRASCALE = FAMILIES


@pytest.mark.parametrize("version, units", [
    (0, ("neighbours forward", "GR sums", "GR to flt", "descriptor", "fitting net")),
    (1, ("neighbours forward", "neighbours backward")),
])
def test_budget_is_what_the_netlist_holds(version, units):
    """Every `$mul` and every memory of the netlist of a unit: an independent count."""
    model = random_type_model(np.random.default_rng(5), 3) if version else small_model()
    # a family whose products synthesis splits: the netlist has them whole
    cfg = small_accelerator(model, fold=4, family=ULTRASCALE.name)
    counted = count_budget(cfg)
    for name in units:
        text = rtlil.convert(UNITS[name](cfg), name="unit", emit_src=False)
        memories: Counter = Counter()
        for style, line in re.findall(
                r"^((?:\s*attribute .*\n)*)\s*memory (.*)$", text, flags=re.M):
            width, depth = re.search(r"width (\d+)", line), re.search(r"size (\d+)", line)
            shape = int(width[1]), int(depth[1])
            memories[shape] += 1
            # synthesis is told what the budget counts on; small queues of Amaranth's are not
            if r"\storage" not in line or shape[0] * shape[1] >= BLOCK_BITS:
                assert (r'\ram_style "distributed"' in style) == is_shallow(*shape), line
        assert counted[name].memories == memories, name
        # one with a constant is an index times the width of a word: no stage's arithmetic
        products: Counter = Counter()
        for cell in re.findall(r"^\s*cell \$mul .*?^\s*end$", text, flags=re.M | re.S):
            widths = [int(re.search(rf"\\{side}_WIDTH (\d+)", cell)[1]) for side in "AB"]
            if not re.search(r"connect .[AB] [0-9]+'", cell):
                products[max(widths), min(widths)] += 1
        assert counted[name].multipliers == products, name
    everything = total(counted)
    assert everything.bits == sum(b.bits for b in counted.values()) > 10000
    assert everything.multipliers.total() > 30


@pytest.mark.parametrize("family", [ECP5, SERIES7])
@pytest.mark.parametrize("shape", [(22, 22), (22, 18), (27, 21), (9, 32)])
def test_blocks_are_the_products_of_the_netlist(family, shape):
    """What logic makes is no product in the netlist, and synthesis cannot take a block for it."""
    text = rtlil.convert(Multiplier(*shape, 3, family.name), name="unit", emit_src=False)
    assert len(re.findall(r"^\s*cell \$mul ", text, flags=re.M)) == family.multiplier_blocks(*shape)


@pytest.mark.parametrize("shape, blocks", [
    # 64 words, as wide as a store's column, take no block; deeper or larger ones do
    ((128, 64), 0), ((256, 64), 0), ((257, 64), 8), ((128, 65), 4), ((100, 80), 0),
])
def test_shallow_memories_take_no_block(shape, blocks):
    assert ECP5.memory_blocks(*shape) == blocks


def test_shape_of_a_multiplier():
    assert count_elaborated(Multiplier(9, 22)).multipliers == {(22, 9): 1}


@pytest.mark.parametrize("shape, blocks", [
    # parts of 17 bits; of 24 by 17; synthesis' own split
    ((22, 22), (1, 1, 2)), ((22, 18), (1, 1, 1)), ((27, 21), (2, 2, 2)), ((18, 18), (1, 1, 1)),
    ((19, 18), (1, 1, 1)), ((27, 18), (2, 1, 1)), ((36, 36), (4, 4, 6)),
])
def test_blocks_of_a_multiplier(shape, blocks):
    for swapped in (shape, shape[::-1]):
        assert tuple(f.multiplier_blocks(*swapped) for f in FAMILIES) == blocks


def test_blocks_of_a_memory():
    assert ECP5.memory_blocks(36, 512) == 1
    assert ECP5.memory_blocks(37, 512) == 2
    assert ECP5.memory_blocks(18, 1025) == 2
    assert ECP5.memory_blocks(16, 511) == 0
    assert SERIES7.memory_blocks(72, 512) == 1
    assert SERIES7.memory_blocks(116, 512) == 2


def test_full_size():
    """Fold 32 with 32 fitting multipliers and one type: what an 85F has multipliers for."""
    found = total(count_budget(AcceleratorConfig(ntypes=1)))
    assert found.multipliers.total() == 80
    assert found.multiplier_blocks(ECP5) == 117 < ECP5.multipliers
    assert found.memory_blocks(ULTRASCALE) == found.memory_blocks(SERIES7) < SERIES7.memories


@pytest.mark.parametrize("changes", [
    {"version": 1, "ntypes": 4, "tables": "octave"}, {"version": 1, "ntypes": 4},
    {"ntypes": 1, "tables": "octave"}, {"ntypes": 1}, {"ntypes": 2, "tables": "octave"},
])
def test_tiny_fits_an_85f(changes):
    """Nets [4, 8, 16], four axis neurons, 64 wide, with room for the link's memories."""
    cfg = preset("tiny").config(sized_model(16, 4, 3, 128, **changes))
    found = total(count_budget(cfg))
    assert found.multiplier_blocks(ECP5) <= ECP5.multipliers
    assert found.memory_blocks(ECP5) + 8 <= ECP5.memories
    # a buffer of twice as many places would be taken for one place in 256
    assert cfg.store_neighbors == 256


def test_report_is_printed_and_written(tmp_path, capsys):
    """`export-hdl --report`: the same counts in the table and in the file, and which parts hold."""
    from nvnmd.cli.hardware import _report

    cfg = small_accelerator(small_model())
    _report(cfg, tmp_path / "budget.json", False)
    written = json.loads((tmp_path / "budget.json").read_text())
    everything = total(count_budget(cfg))
    last = written["units"][-1]
    assert (last["unit"], last["memory_bits"]) == ("all", everything.bits)
    assert sum(last["multipliers"].values()) == everything.multipliers.total()
    assert last["blocks"]["ECP5"]["MULT18X18D"] == everything.multiplier_blocks(ECP5)
    shown = capsys.readouterr()
    text = shown.out + shown.err
    assert f"{everything.multiplier_blocks(ULTRASCALE)} of 6840 DSP48E2" in text
    assert "XCVU9P (UltraScale+) holds them" in text
