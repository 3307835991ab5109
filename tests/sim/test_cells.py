"""Our models of ECP5's black boxes against their public descriptions."""

from __future__ import annotations

import random

import pytest
from support.cell_vectors import (
    MULT_BITS,
    PORT,
    RAM_BITS,
    Block,
    Ram,
    product,
    run_cells,
)

pytest.importorskip("amaranth", reason="Amaranth is not installed")

RAMS = [Ram(), Ram(9, 9), Ram(mode_a="WRITETHROUGH", mode_b="READBEFOREWRITE", first=0x2A5C3),
        Ram(36, 36, first=0x15A3C), Ram(36, 9), Ram(36, 1), Ram(18, 36), Ram(4, 36),
        Ram(9, 18, "READBEFOREWRITE", "WRITETHROUGH"), Ram(2, 9), Ram(1, 18, first=0x3FFFF),
        Ram(18, 4), Ram(4, 2), Ram(9, 1, "WRITETHROUGH")]
CYCLES = 3000


def random_port(rng, near):
    """Values of a port's inputs; addresses keep to few rows, so that ports meet."""
    values = {name: rng.getrandbits(width) for name, width in PORT.items()}
    values["CE"] = int(rng.random() < 0.9)
    values["CS"] = rng.getrandbits(3) if rng.random() < 0.05 else 0
    if near:
        values["AD"] &= 0x205F
    return values


def packed(values):
    """A port's inputs as one number."""
    total, at = 0, 0
    for name, width in PORT.items():
        total |= values[name] << at
        at += width
    return total


def test_cells_are_as_described(tmp_path):
    rng = random.Random(7)
    corners = [0, 1, 2**17 - 1, 2**17, 2**17 + 1, 2**18 - 1]
    multiplied = [a | b << 18 | s << 36 for a in corners for b in corners for s in range(4)]
    blocks = [Block(ram) for ram in RAMS]
    stimulus, expected = [], []
    for cycle in range(CYCLES):
        word = multiplied[cycle] if cycle < len(multiplied) else rng.getrandbits(MULT_BITS)
        after = product(word)
        for k, block in enumerate(blocks):
            ports = {side: random_port(rng, cycle < CYCLES // 2) for side in "AB"}
            if block.ram.width_b == 36:
                # the outputs of both ports show what B reads, and B has no inputs of its own
                ports["B"]["WE"] = 0
            if block.ram.width_a == 36:
                ports["B"]["WE"] = 0
            for place, side in enumerate("AB"):
                at = MULT_BITS + RAM_BITS * k + RAM_BITS // 2 * place
                word |= packed(ports[side]) << at
            after |= block.edge(ports) << 36 * (k + 1)
        stimulus.append(word)
        expected.append(after)
    seen = run_cells(RAMS, stimulus, tmp_path)
    assert [after for _, after in seen] == expected
    # the multiplier waits for no edge
    low = 2**36 - 1
    assert [before & low for before, _ in seen] == [after & low for after in expected]
    # nothing moves without an edge but the multiplier
    assert [before >> 36 for before, _ in seen[1:]] == [word >> 36 for word in expected[:-1]]
