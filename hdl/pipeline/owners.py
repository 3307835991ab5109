"""What the owners of the model's memories do with the load bus: take beats, and give them back.

Beats are read back through the ports that evaluation reads the memories by. The loader asks for one
a cycle (`check`), in the order of the image. Whoever holds it lends its read port for that cycle
and shows the beat `READ_LATENCY` cycles after the bus asked; everybody else shows zero, so that all
answers are joined by OR. Words come as the image has them: signed ones with their sign in all 32
bits.

Some words are held twice, because two stages need them at once. They are read in two rounds: the
second round (`second`) reads the second copy where there is one.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring

from nvnmd.hdl.pipeline.delay import Delay
from nvnmd.hdl.pipeline.lane_memory import LaneMemory
from nvnmd.hdl.pipeline.loadbus import LANE_BITS, LANES, Section

READ_LATENCY = 4
"""Cycles from a beat that is asked for on the bus to its words."""


def share(m: Module, load: wiring.PureInterface, *owners: wiring.PureInterface,
          answers: Sequence[Value] = ()) -> None:
    """Hand the load bus on to several owners; join what they read back, and one's own `answers`."""
    for owner in owners:
        for name in ("valid", "check", "second", "section", "index", "data"):
            m.d.comb += getattr(owner, name).eq(getattr(load, name))
    m.d.comb += load.back.eq(joined(*(owner.back for owner in owners), *answers))


def joined(*answers: Value) -> Value:
    """All answers in one: at most one of them is not zero."""
    return functools.reduce(operator.or_, answers, Const(0, LANES * LANE_BITS))


def asked(load: wiring.PureInterface, section: int, second: bool | None = None) -> Value:
    """Whether a beat of a section is asked for; with `second`, in that round only."""
    found = load.check & (load.section == section)
    if second is None:
        return found
    return found & (load.second if second else ~load.second)


def answer(m: Module, load: wiring.PureInterface, section: int, words: Sequence[Value], *,
           since: int, second: bool | None = None) -> Value:
    """The beat of a section, `READ_LATENCY` cycles after it was asked for; zero at other times.

    Parameters
    ----------
    words : sequence of at most four Value
        The beat's lanes as they are stored, `since` cycles after the bus asked.
    since : int
        Below `READ_LATENCY`.
    second : bool, optional
        Answer in that round only; by default in both.
    """
    beat = Signal(data.ArrayLayout(LANE_BITS, LANES), name=f"back{section}")
    m.d.comb += [beat[lane].eq(word) for lane, word in enumerate(words)]
    here = Delay(1, since)
    m.submodules += here
    m.d.comb += here.i.eq(asked(load, section, second))
    held = Signal(LANES * LANE_BITS, name=f"held{section}", reset_less=True)
    m.d.sync += held.eq(Mux(here.o, beat.as_value(), 0))
    later = Delay(LANES * LANE_BITS, READ_LATENCY - since - 1, ring=False)
    m.submodules += later
    m.d.comb += later.i.eq(held)
    return later.o


def connect_load(m: Module, load: wiring.PureInterface, section: Section, mem: LaneMemory, *,
                 minus_from: int | None = None, plus: int = 0, second: bool | None = None
                 ) -> Value:
    """Write a section's beats into a memory of four write lanes, one cycle later; read them back.

    `minus_from`: store ``minus_from - word`` (exponents become shifts); else ``word + plus``.

    Returns
    -------
    Value
        The `answer` when a beat is asked for.
    """
    name = section.name.lower()
    enable, checking = Signal(name=f"{name}_en"), Signal(name=f"{name}_check")
    index = Signal.like(mem.w_index, name=f"{name}_index", reset_less=True)
    words = Signal(mem.w_data.shape(), name=f"{name}_words", reset_less=True)
    groups = mem.items // mem.write_lanes
    m.d.sync += [
        enable.eq(load.valid & (load.section == section) & (load.index < groups)),
        checking.eq(asked(load, section, second)),
        index.eq(load.index),
    ]
    found = []
    for i in range(LANES):
        word = load.data.word_select(i, LANE_BITS)
        m.d.sync += words[i].eq(word + plus if minus_from is None else minus_from - word)
        stored = Value.cast(mem.w_back[i])
        found.append(stored - plus if minus_from is None else minus_from - stored)
    m.d.comb += [
        mem.w_en.eq(enable),
        mem.check.eq(checking),
        mem.w_index.eq(index),
        mem.w_data.eq(words),
    ]
    return answer(m, load, section, found, since=2, second=second)
