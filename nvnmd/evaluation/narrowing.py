"""Which widths of the number formats a model needs: errors on labelled data against hardware.

Nothing is trained. A set of widths passes if the root mean square error of the forces rises by no
more than a bound. The search takes the rise as growing with every bit that is left out; each width
alone is halved down to the least that passes, then all of them together are raised bit by bit,
each time where the error falls most for what it costs, and lowered again where that still passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nvnmd.data.system import System
from nvnmd.errors import InputError, NvnmdError, RangeError
from nvnmd.evaluation.evaluate import combine, errors_against_labels, evaluate_system
from nvnmd.hdl.budget import count_budget, total
from nvnmd.hdl.export import config_for
from nvnmd.quantize.model import Model
from nvnmd.quantize.narrow import narrowed
from nvnmd.quantize.widths import LIMITS, Widths

NAMES = tuple(LIMITS)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Errors of one set of widths.

    Attributes
    ----------
    widths : Widths
        The set.
    energy : float or None
        Root mean square error of the energy per atom in eV; None without labels of it, infinite
        where a value left its format.
    force : float
        Of the force components, in eV/Å.
    rise : float
        Of the force error over that of the model as it is: 0.01 for 1 %.
    left : str
        What left its format; empty where nothing did.
    """

    widths: Widths
    energy: float | None
    force: float
    rise: float
    left: str = ""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What the accelerator of some widths takes, as `nvnmd.hdl.budget` counts it.

    Attributes
    ----------
    multiplier_bits : int
        Sum over the multipliers of the product of both operands' widths.
    memory_bits : int
        Bits of all memories.
    """

    multiplier_bits: int
    memory_bits: int

    def share(self, whole: Price) -> float:
        """Mean of both parts' shares of another price."""
        return 0.5 * (self.multiplier_bits / whole.multiplier_bits
                      + self.memory_bits / whole.memory_bits)


@dataclass(frozen=True, kw_only=True)
class Narrowing:
    """What a search found.

    Attributes
    ----------
    whole : Measured
        The model as it is.
    alone : dict of str to list of Measured
        By the name of the one width that is narrower: all that were tried, widest first.
    together : list of Measured
        Sets with several narrower widths, in the order in which they were tried.
    best : Measured
        The cheapest that passes.
    prices : dict of Widths to Price
        Of the model as it is, of the least of each width alone, of the best.
    """

    whole: Measured
    alone: dict[str, list[Measured]]
    together: list[Measured]
    best: Measured
    prices: dict[Widths, Price]


def price_of(model: Model, widths: Widths) -> Price:
    """Count the model's accelerator in these widths, in its default folds."""
    found = total(count_budget(config_for(replace(model, widths=widths))))
    return Price(multiplier_bits=sum(a * b * n for (a, b), n in found.multipliers.items()),
                 memory_bits=found.bits)


def narrow_search(model: Model, systems: Sequence[tuple[System, int]], *, bound: float = 0.01,
                  price: Callable[[Model, Widths], Price] = price_of) -> Narrowing:
    """Find the cheapest widths within a bound.

    Parameters
    ----------
    model : Model
        Where to start; no width becomes wider than its own.
    systems : sequence of (System, int)
        Labelled data, and frames of each from the first.
    bound : float
        Largest rise of the force error, 0.01 for 1 %.
    price : callable
        `price_of`, or what takes its place.

    Raises
    ------
    InputError
        No system has labelled forces, or the model has no force error to compare with.
    NvnmdError
        The model as it is cannot evaluate a frame.
    """
    known: dict[Widths, Measured] = {}

    def measure(widths: Widths) -> Measured:
        if widths not in known:
            known[widths] = _measure(model, widths, systems, known.get(model.widths))
        return known[widths]

    def passes(widths: Widths) -> bool:
        return measure(widths).rise <= bound

    whole = measure(model.widths)
    least = {name: _least(model.widths, name, passes) for name in NAMES}
    alone = {name: sorted((m for m in known.values() if _changed(m.widths, whole.widths) == [name]),
                          key=lambda m: -int(getattr(m.widths, name))) for name in NAMES}
    before = set(known)
    prices = {widths: price(model, widths) for widths in (
        whole.widths, *(replace(whole.widths, **{name: bits}) for name, bits in least.items()))}
    gain = {name: _per_bit(prices, whole.widths, name, bits) for name, bits in least.items()}
    best = _together(whole.widths, Widths(**least), gain, measure, passes)
    if best not in prices:
        prices[best] = price(model, best)
    together = [m for widths, m in known.items() if widths not in before]
    return Narrowing(whole=whole, alone=alone, together=together, best=known[best], prices=prices)


def _changed(widths: Widths, whole: Widths) -> list[str]:
    return [name for name in NAMES if getattr(widths, name) != getattr(whole, name)]


def _least(whole: Widths, name: str, passes: Callable[[Widths], bool]) -> int:
    """The least of one width that passes alone, by halving."""
    good, bad = int(getattr(whole, name)), LIMITS[name][0] - 1
    while good - bad > 1:
        middle = (good + bad) // 2
        if passes(replace(whole, **{name: middle})):
            good = middle
        else:
            bad = middle
    return good


def _per_bit(prices: dict[Widths, Price], whole: Widths, name: str, bits: int) -> float:
    """Share of the whole price that a bit of one width takes."""
    count = getattr(whole, name) - bits
    if not count:
        return 0.0
    return (1.0 - prices[replace(whole, **{name: bits})].share(prices[whole])) / count


def _together(whole: Widths, start: Widths, gain: dict[str, float],
              measure: Callable[[Widths], Measured], passes: Callable[[Widths], bool]) -> Widths:
    """From the least of each width up to a set that passes, and down again where it still does."""
    found = start
    while not passes(found):
        wider = [replace(found, **{name: getattr(found, name) + 1}) for name in NAMES
                 if getattr(found, name) < getattr(whole, name)]
        now = measure(found).force

        def worth(widths: Widths, found: Widths = found, now: float = now) -> float:
            (name,) = _changed(widths, found)
            fall = now - measure(widths).force
            # from a value that left its format, any that does not is better
            fall = 0.0 if math.isnan(fall) else fall
            return fall / max(gain[name], 1e-6)

        found = max(wider, key=worth)
    order = sorted((name for name in NAMES if gain[name] > 0.0), key=lambda name: -gain[name])
    before = None
    while found != before:
        before = found
        for name in order:
            while getattr(found, name) > LIMITS[name][0]:
                lower = replace(found, **{name: getattr(found, name) - 1})
                if not passes(lower):
                    break
                found = lower
    return found


def _measure(model: Model, widths: Widths, systems: Sequence[tuple[System, int]],
             whole: Measured | None) -> Measured:
    """Errors of the model in these widths; a value that leaves its format is an infinite one."""
    parts = []
    narrow = model if widths == model.widths else narrowed(model, widths)
    for system, frames in systems:
        try:
            prediction = evaluate_system(narrow, system, frames=frames)
        except RangeError as error:
            if whole is None:
                raise
            return Measured(widths=widths, energy=math.inf, force=math.inf, rise=math.inf,
                            left=str(error))
        parts.append(errors_against_labels(system, prediction))
    errors = combine(parts)
    if "force" not in errors:
        raise InputError("no system has labelled forces, expected a force.npy")
    force = errors["force"].rmse
    if whole is None and not force > 0.0:
        raise NvnmdError("the model's force error is 0, so that no rise of it can be told")
    energy = errors["energy_peratom"].rmse if "energy_peratom" in errors else None
    return Measured(widths=widths, energy=energy, force=force,
                    rise=0.0 if whole is None else force / whole.force - 1.0)
