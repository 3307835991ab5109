"""Modules that are alike but for names stand once; the design stays the same."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("amaranth")

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.each_module_once import each_module_once
from nvnmd.hdl.verilog import to_verilog

# two registers with ports of other names in another order, one on the other edge
TEXT = r"""/* head */

module \top.one (clk, \d$1 , q);
  input clk;
  input [3:0] \d$1 ;
  output [3:0] q;
  reg [3:0] q = 4'h0;
  always @(posedge clk)
    q <= \d$1 ;
endmodule

module \top.two (go, from, to$2);
  input go;
  input [3:0] from;
  output [3:0] to$2;
  reg [3:0] to$2 = 4'h0;
  always @(posedge go)
    to$2 <= from;
endmodule

(* keep = 1 *)
module three(clk, \d$1 , q);
  input clk;
  input [3:0] \d$1 ;
  output [3:0] q;
  reg [3:0] q = 4'h0;
  always @(@EDGE@ clk)
    q <= \d$1 ;
endmodule

module top(clk, a, b, c);
  input clk;
  input [3:0] a;
  wire [3:0] between;
  output [3:0] b;
  output [3:0] c;
  \top.one  first (
    .clk(clk),
    .\d$1 (a),
    .q(between)
  );
  \top.two  second (
    .to$2(b),
    .from({ between[3:1], between[0] }),
    .go(clk)
  );
  three third (
    .clk(clk),
    .\d$1 (between),
    .q(c)
  );
  FOREIGN fourth (
    .to$2(a)
  );
endmodule
"""


def test_names_of_ports_follow():
    found = each_module_once(TEXT.replace("@EDGE@", "negedge"))
    assert re.findall(r"(?m)^module (\S+?)[ (]", found) == [r"\top.one", "three", "top"]
    second = found[found.index(" second (") :].split(");")[0]
    assert second.splitlines()[1:4] == [
        "    .q(b),", r"    .\d$1 ({ between[3:1], between[0] }),", "    .clk(clk)"]
    assert r"  \top.one  second (" in found and "  three third (" in found
    # what is not a module of the text stays as it is
    assert "  FOREIGN fourth (\n    .to$2(a)\n  );" in found
    assert found.startswith("/* head */\n\nmodule ")


@pytest.mark.parametrize(("old", "new"), [
    ("negedge", "posedge"), ("(* keep = 1 *)\n", "")])
def test_what_differs_stays(old, new):
    """Another edge, or an attribute, is another module; without either it is the first."""
    text = TEXT.replace("@EDGE@", "negedge")
    assert each_module_once(text.replace(old, new)).count("endmodule") == 3
    plain = text.replace("negedge", "posedge").replace("(* keep = 1 *)\n", "")
    assert each_module_once(plain).count("endmodule") == 2


def test_a_text_without_modules_stays():
    assert each_module_once("/* nothing */\n") == "/* nothing */\n"


class Add(wiring.Component):
    """A sum in a register, of two widths."""

    def __init__(self, width: int) -> None:
        super().__init__({"a": In(width), "o": Out(width)})

    def elaborate(self, _):
        m = Module()
        inner = m.submodules.inner = Step(len(self.a))
        m.d.comb += inner.i.eq(self.a)
        m.d.comb += self.o.eq(inner.o + 1)
        return m


class Step(wiring.Component):
    """A register."""

    def __init__(self, width: int) -> None:
        super().__init__({"i": In(width), "o": Out(width)})

    def elaborate(self, _):
        m = Module()
        m.d.sync += self.o.eq(self.i)
        return m


def test_instances_of_one_component_share_a_module():
    """Three of four bits and one of five: two modules of each kind, and the top."""
    class Top(wiring.Component):
        def __init__(self):
            super().__init__({"a": In(4), "o": Out(6)})

        def elaborate(self, _):
            m = Module()
            parts = []
            for k, width in enumerate((4, 5, 4, 4)):
                part = Add(width)
                m.submodules[f"part_{k}"] = part
                m.d.comb += part.a.eq(self.a ^ k)
                parts.append(part.o)
            total = Signal(6)
            m.d.comb += total.eq(sum(parts))
            m.d.sync += self.o.eq(total)
            return m

    text = to_verilog(Top(), "top")
    names = re.findall(r"(?m)^module (\S+?) ?\(", text)
    assert len(names) == 5 and names[-1] == "top", names
    assert {f"part_{k}" for k in range(4)} == set(re.findall(r"part_\d(?= \()", text))
