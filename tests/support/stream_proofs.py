"""Proofs that what carries words loses, repeats and reorders none, under any stall.

A component that looks at no word may be given numbers: word k into it is k, so word k out of it
must be k. When words come and are taken is free, within what the component's owner promises. A
proof unrolls it from reset on for a stated number of cycles; by induction it holds for good.

The numbers count modulo a power of two above twice as many as fit inside, so that no two words
inside are alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Elaboratable, Fragment, Module, Signal, Value
from amaranth.lib import wiring
from support.proofs import Verdict, check_model, find_signal, keep, plant


@dataclass
class World:
    """What surrounds a component: free inputs, what may be assumed of them, what must hold."""

    m: Module
    fragment: Fragment
    free_inputs: list[Signal] = field(default_factory=list)

    def free(self, name: str, width: int = 1) -> Signal:
        """An input that may be anything in every cycle."""
        self.free_inputs.append(Signal(width, name=name))
        return self.free_inputs[-1]

    def assume(self, what: Any) -> None:
        """Of the inputs, in every cycle."""
        self.m.d.comb += Assume(what)

    def hold(self, what: Any) -> None:
        """What must hold in every cycle."""
        self.m.d.comb += Assert(what)

    def count(self, moves: Any, width: int, step: int = 1) -> Signal:
        """How many times something moved before this cycle, modulo ``2**width``."""
        counter = Signal(width)
        with self.m.If(moves):
            self.m.d.sync += counter.eq(counter + step)
        return counter

    def ago(self, value: Value, cycles: int) -> Value:
        """A value of earlier cycles; 0 before there were any."""
        for _ in range(cycles):
            later = Signal.like(value)
            self.m.d.sync += later.eq(value)
            value = later
        return value

    def inside(self, name: str) -> Any:
        """A register of the component, for what a step of induction must know."""
        return find_signal(self.fragment, name)[2]

    def named(self, value: Any) -> Signal:
        """A value by a name, where it is used often."""
        return keep(self.m, Value.cast(value))


@dataclass(frozen=True)
class Stream:
    """What is proved.

    Attributes
    ----------
    unit : callable
        Makes the component.
    world : callable
        Takes a `World` and the component: drives its inputs, says what must hold.
    fault : (str, int)
        A signal inside, by its name, and its bit that is 0 in the planted fault.
    depth : int
        Cycles from reset on that are unrolled; with `induction` cycles of a step.
    induction : bool
        It is proved for good, from a step that begins anywhere.
    """

    unit: Callable[[], wiring.Component]
    world: Callable[[World, Any], None]
    fault: tuple[str, int]
    depth: int
    induction: bool = False


class _Surrounded(Elaboratable):
    def __init__(self, stream: Stream, planted: bool) -> None:
        self.m = Module()
        unit = stream.unit()
        fragment = Fragment.get(unit, None)
        if planted:
            plant(fragment, stream.fault)
        self.m.submodules.unit = fragment
        self.world = World(self.m, fragment)
        stream.world(self.world, unit)

    def elaborate(self, platform: object) -> Module:
        return self.m


def prove_stream(stream: Stream, folder: Path, *, planted: bool = False) -> Verdict:
    """Prove, or with a planted fault disprove.

    Raises
    ------
    RuntimeError
        Yosys or the model checker failed otherwise than by a verdict.
    """
    top = _Surrounded(stream, planted)
    text = rtlil.convert(top, name="top", ports=top.world.free_inputs, emit_src=False)
    # from reset on first: induction says nothing of the beginning, and finds faults that never are
    verdict = check_model(text, folder, stream.depth)
    if verdict.passed and stream.induction:
        step = check_model(text, folder, stream.depth, induction=True)
        return Verdict(step.passed, stream.depth, verdict.seconds + step.seconds, step.told)
    return verdict
