"""The stages of a rigid pipeline: registers between them, side values carried along."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data


class Stages:
    """Registers at the end of each stage of a pipeline that never stops.

    A value that a later stage needs is named again at each `cut` on its way, so that a new stage
    in the middle cannot leave a side value behind: a name that was not carried is an error.

    Attributes
    ----------
    latency : int
        Cycles from the first stage's inputs to what the last `cut` returned.
    """

    def __init__(self, m: Module) -> None:
        self._m = m
        self._held: dict[str, Any] = {}
        self.latency = 0

    def cut(self, carry: str = "", **values: Value | data.View) -> SimpleNamespace:
        """End a stage.

        Parameters
        ----------
        carry : str
            Names of values of the stage before, apart by spaces, that go on as they are.
        **values
            What this stage found, by name.

        Returns
        -------
        SimpleNamespace
            A register of each, by its name.

        Raises
        ------
        KeyError
            A name to carry is not one of the stage before.
        """
        self.latency += 1
        going = {name: self._held[name] for name in carry.split()} | values
        self._held = {}
        for name, value in going.items():
            shape = value.shape() if hasattr(value, "shape") else Value.cast(value).shape()
            held = Signal(shape, name=f"{name}_{self.latency}")
            self._m.d.sync += held.eq(value)
            self._held[name] = held
        return SimpleNamespace(**self._held)

    def expect(self, latency: int) -> None:
        """Check the latency that a unit states; the unit's neighbours count on it.

        Raises
        ------
        ValueError
            It is another.
        """
        if self.latency != latency:
            raise ValueError(f"a pipeline of {self.latency} stages states {latency} cycles")
