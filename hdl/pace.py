"""Cycles per atom: which stage sets the pace, and the buffers with which none waits for a place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from nvnmd.hdl.fitting.schedule import Schedule
from nvnmd.hdl.params import AcceleratorConfig, ceil_div

SHORT = 0.01
"""Share of its places that the neighbour store may lack: doubled for less, it would be half empty.

It slows full lists down by no more than that.
"""


@dataclass(frozen=True)
class Pace:
    """Clock cycles from one neighbour, or atom, to the next, of each stage by itself.

    Attributes
    ----------
    cycles_per_neighbor : int
        Both neighbour phases.
    descriptor_cycles_per_atom : int
        The descriptor and the way of dE/dD out: one word a cycle.
    fitting_cycles_per_atom : int
        The passes of the fitting net.
    handover_cycles_per_atom : int
        dE/dD through its memory: an atom's last pass, and the way of its words out.
    gradient_cycles_per_atom : int
        dE/dGR.
    """

    cycles_per_neighbor: int
    descriptor_cycles_per_atom: int
    fitting_cycles_per_atom: int
    handover_cycles_per_atom: int
    gradient_cycles_per_atom: int

    @classmethod
    def of(cls, cfg: AcceleratorConfig) -> Pace:
        """The paces of a configuration."""
        fit = Schedule.best(cfg)
        handover = fit.steps + fit.latency + cfg.fit_cols // fit.lanes + cfg.width
        return Pace(
            cycles_per_neighbor=cfg.fold,
            descriptor_cycles_per_atom=cfg.width,
            fitting_cycles_per_atom=fit.atom_cycles(cfg.hidden, cfg.fit_atoms),
            handover_cycles_per_atom=ceil_div(handover, cfg.gradients),
            gradient_cycles_per_atom=4 * cfg.m1 + 2 * cfg.m2 - 1,
        )

    def cycles_per_atom(self, neighbors: int, absent: int = 0) -> int:
        """Cycles from atom to atom in a full pipeline: its slowest stage sets the pace.

        Parameters
        ----------
        neighbors : int
            Neighbours of each atom.
        absent : int
            Groups of neighbours that an atom lacks, a beat each: in version 0 the model's types
            that are not among its neighbours, in version 1 one where it has no neighbour.
        """
        return max((neighbors + absent) * self.cycles_per_neighbor,
                   self.descriptor_cycles_per_atom, self.fitting_cycles_per_atom,
                   self.handover_cycles_per_atom, self.gradient_cycles_per_atom)


@dataclass(frozen=True)
class Buffers:
    """Sizes with which no stage waits for a place: the fields of `AcceleratorConfig`."""

    store_neighbors: int
    atoms: int
    gradients: int


def buffers_for(cfg: AcceleratorConfig) -> Buffers:
    """Buffers that keep the pace for atoms with `max_nnei` neighbours or fewer, powers of two.

    A place is taken for some time; what is taken at once is that time over the pace. The times are
    the atom's neighbours coming in, the passes of the fitting net, one word of D and of dE/dD a
    cycle, dE/dGR, and the pipelines between (107 cycles, and 12 neighbours' time, measured).
    """
    found = Pace.of(cfg)
    fit = Schedule.best(cfg)
    passes = (2 * cfg.hidden - 1) * max(cfg.fit_atoms * fit.steps, fit.steps + fit.gap) + fit.steps
    full = found.cycles_per_atom(cfg.max_nnei)
    fastest = found.cycles_per_atom(0)
    behind = 2 * cfg.width + found.gradient_cycles_per_atom + cfg.m1 + passes
    kept = cfg.max_nnei * (cfg.fold * (cfg.max_nnei + 12) + behind + 107) / full
    summed = max((cfg.fold * (count + 12) + cfg.width + 107) / pace
                 for count, pace in ((cfg.max_nnei, full), (0, fastest)))
    waiting = (behind + fit.latency) / fastest
    gradients = 1
    if found.handover_cycles_per_atom > replace(
            found, handover_cycles_per_atom=0).cycles_per_atom(0):
        gradients = 2
    if cfg.fit_atoms > 1:
        # atoms that take turns end one soon after the other
        gradients = 2 * cfg.fit_atoms
    return Buffers(max(2 * cfg.max_nnei, _power_of_two(kept * (1 - SHORT))),
                   max(2, _power_of_two(max(summed, waiting + 0.5))), gradients)


def _power_of_two(value: float) -> int:
    """The smallest power of two that is not below."""
    return 1 << max(0, ceil(value) - 1).bit_length()
