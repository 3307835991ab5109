"""Vectors through the models of ECP5's cells, all in one simulator, and what must come out.

The definitions are written from the public descriptions (Lattice FPGA-TN-02204 and -02205), apart
from the Verilog: a block of RAM is a list of bits, a unit of a port a list of places in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nvnmd.sim.cells import cell_models
from nvnmd.sim.runner import run_program
from nvnmd.sim.simulators import Program, build_simulator

TOP = "cells"
WORDS = 1024
MAIN = r"""
#include <cstdio>
#include <vector>
#include "Vtop.h"
#include "clock.h"

// cells IN OUT: in every cycle the next words of IN go to `in`; `out` before and after the edge
int main(int argc, char** argv) {
    VerilatedContext context;
    Vtop top(&context);
    nvnmd::Clock<Vtop> clock(context, top);
    std::FILE* in = argc == 3 ? std::fopen(argv[1], "rb") : nullptr;
    std::FILE* out = argc == 3 ? std::fopen(argv[2], "wb") : nullptr;
    if (!in || !out) return 2;
    std::vector<std::uint32_t> words(nvnmd::port_words<decltype(top.in)>());
    while (std::fread(words.data(), 4, words.size(), in) == words.size()) {
        nvnmd::set_port(top.in, words.data());
        std::vector<std::uint32_t> seen;
        clock.settle();
        nvnmd::append_port(seen, top.out);
        clock.edge();
        nvnmd::append_port(seen, top.out);
        std::fwrite(seen.data(), 4, seen.size(), out);
    }
    clock.finish();
    return std::fclose(out);
}
"""


@dataclass(frozen=True)
class Ram:
    """How a block of RAM is set: widths of its ports, and what they show in writing."""

    width_a: int = 18
    width_b: int = 18
    mode_a: str = "NORMAL"
    mode_b: str = "NORMAL"
    first: int = 0

    @property
    def verilog(self) -> str:
        """An instance; `first` is its word 0 at power-on, its word 17 one more."""
        return (f"DP16KD #(.DATA_WIDTH_A({self.width_a}), .DATA_WIDTH_B({self.width_b}), "
                f'.WRITEMODE_A("{self.mode_a}"), .WRITEMODE_B("{self.mode_b}"), '
                f".INITVAL_00(320'd{self.first}), "
                f".INITVAL_01(320'd{(self.first + 1) % 2**18 << 20}))")


PORT = {"DI": 18, "AD": 14, "CE": 1, "WE": 1, "CS": 3}
RAM_BITS = 2 * sum(PORT.values())
MULT_BITS = 18 + 18 + 2


def _pins(name: str, width: int, source: str) -> str:
    if width == 1:
        return f".{name}({source}[0])"
    return ", ".join(f".{name}{k}({source}[{k}])" for k in range(width))


def cells_verilog(rams: list[Ram]) -> str:
    """One multiplier and some blocks of RAM between the words `in` and `out`."""
    total, seen = MULT_BITS + RAM_BITS * len(rams), 36 * (1 + len(rams))
    lines = [f"module {TOP}(input aclk, input aresetn, input [{total - 1}:0] in, "
             f"output [{seen - 1}:0] out);",
             "wire [37:0] m = in[37:0];",
             f"MULT18X18D mult ({_pins('A', 18, 'm')}, "
             + ", ".join(f".B{k}(m[{18 + k}])" for k in range(18))
             + ", .SIGNEDA(m[36]), .SIGNEDB(m[37]), .SOURCEA(1'b0), .SOURCEB(1'b0), "
             + _pins("P", 36, "out") + ");"]
    at = MULT_BITS
    for k, ram in enumerate(rams):
        pins = []
        for side in "AB":
            for name, width in PORT.items():
                wire = f"{name}{side}_{k}"
                lines.append(f"wire [{width - 1}:0] {wire} = in[{at} +: {width}];")
                pins.append(_pins(name + side, width, wire))
                at += width
            lines.append(f"wire [17:0] DO{side}_{k};")
            pins += [_pins(f"DO{side}", 18, f"DO{side}_{k}"), f".CLK{side}(aclk)",
                     f".RST{side}(1'b0)", f".OCE{side}(1'b1)"]
        lines += [f"{ram.verilog} ram{k} ({', '.join(pins)});",
                  f"assign out[{36 * (k + 1)} +: 36] = {{DOB_{k}, DOA_{k}}};"]
    return "\n".join([cell_models(), *lines, "endmodule", ""])


def run_cells(rams: list[Ram], stimulus: list[int], folder: Path) -> list[tuple[int, int]]:
    """What `out` is before and after each edge."""
    total, seen = MULT_BITS + RAM_BITS * len(rams), 36 * (1 + len(rams))
    return run_vectors(cells_verilog(rams), TOP, total, seen, stimulus, folder)


def run_vectors(verilog: str, top: str, in_bits: int, out_bits: int, stimulus: list[int],
                folder: Path) -> list[tuple[int, int]]:
    """The same of a design with ports `aclk`, `aresetn`, `in` and `out`, both over 64 bits wide."""
    build = build_simulator(verilog, top=top, program=Program("cells.cpp", {"cells.cpp": MAIN}))
    size, back = 4 * -(-in_bits // 32), 4 * -(-out_bits // 32)
    (folder / "in").write_bytes(b"".join(x.to_bytes(size, "little") for x in stimulus))
    run_program(build.directory / top, [str(folder / "in"), str(folder / "out")], folder / "log")
    raw = (folder / "out").read_bytes()
    words = [int.from_bytes(raw[i:i + back], "little") for i in range(0, len(raw), back)]
    return list(zip(words[::2], words[1::2], strict=True))


def product(word: int) -> int:
    """Of 18-bit numbers, with signs where bits 36 and 37 say so; the low 36 bits of it."""
    def number(bits: int, signed: int) -> int:
        return bits - 2**18 if signed and bits >= 2**17 else bits

    a, b = word & (2**18 - 1), word >> 18 & (2**18 - 1)
    return number(a, word >> 36 & 1) * number(b, word >> 37 & 1) % 2**36


def unit_places(width: int, address: int) -> list[int]:
    """Which bits of the block a port's unit is, the low one first."""
    if width >= 18:
        count = width // 18
        first = 18 * count * (address >> (4 if count == 1 else 5))
        return list(range(first, first + width))
    byte = 9 * (address >> 3)
    if width == 9:
        return list(range(byte, byte + 9))
    inside = (address & 7) // width * width
    return list(range(byte + inside, byte + inside + width))


class Block:
    """A block of RAM as the description has it, one clock for both ports."""

    def __init__(self, ram: Ram) -> None:
        self.ram = ram
        self.bits = np.zeros(18 * WORDS, dtype=bool)
        for word, value in ((0, ram.first), (17, (ram.first + 1) % 2**18)):
            self.bits[18 * word:18 * word + 18] = [value >> k & 1 for k in range(18)]
        self.out = {"A": 0, "B": 0}

    def edge(self, ports: dict[str, dict[str, int]]) -> int:
        """One rising edge; what DOB and DOA are then."""
        width = {"A": self.ram.width_a, "B": self.ram.width_b}
        mode = {"A": self.ram.mode_a, "B": self.ram.mode_b}
        high = ports["B"]["DI"] << 18 if width["A"] == 36 else 0
        data = {"A": ports["A"]["DI"] | high, "B": ports["B"]["DI"]}
        places = {side: unit_places(width[side], ports[side]["AD"]) for side in "AB"}
        used = {side: ports[side]["CE"] and not ports[side]["CS"] for side in "AB"}
        written: dict[str, dict[int, int]] = {"A": {}, "B": {}}
        for side in "AB":
            if used[side] and ports[side]["WE"]:
                for k, place in enumerate(places[side]):
                    if width[side] < 18 or ports[side]["AD"] >> k // 9 & 1:
                        written[side][place] = data[side] >> k & 1
        before = self.bits.copy()
        for side, other in (("A", "B"), ("B", "A")):
            if not used[side] or (ports[side]["WE"] and mode[side] == "NORMAL"):
                continue
            through = written[side] if mode[side] == "WRITETHROUGH" else {}
            # what the other port writes now cannot be relied on
            seen = [not before[p] if p in written[other] else through.get(p, before[p])
                    for p in places[side]]
            self.out[side] = sum(int(bit) << k for k, bit in enumerate(seen))
        for place in written["A"].keys() | written["B"].keys():
            both = place in written["A"] and place in written["B"]
            self.bits[place] = (not before[place] if both else
                                written["A"].get(place, written["B"].get(place, 0)))
        if width["B"] == 36:
            return self.out["B"]
        return self.out["A"] % 2**18 | self.out["B"] << 18
