"""The accelerator's latencies and pace, as its components state them."""

from __future__ import annotations

import gc
import warnings
from dataclasses import asdict, dataclass

from amaranth.hdl import UnusedElaboratable

from nvnmd.hdl.backward import NeighborBackward
from nvnmd.hdl.descriptor import Descriptor
from nvnmd.hdl.fitnet import FitNet
from nvnmd.hdl.forward import NeighborForward
from nvnmd.hdl.params import AcceleratorConfig


@dataclass(frozen=True)
class Latency:
    """Clock cycles.

    Attributes
    ----------
    cycles_per_neighbor : int
        Pace of both neighbour phases.
    beat_to_slot : int
        From a neighbour's beat to its first embedding channels.
    slots_to_meta : int
        From its last channels to its entry in the neighbour store.
    columns_to_descriptor : int
        From an atom's last GR column to its first descriptor word.
    fitting_cycles_per_atom : int
        Pace of the fitting net.
    neighbor_backward : int
        From a neighbour leaving the store to its derivatives.
    """

    cycles_per_neighbor: int
    beat_to_slot: int
    slots_to_meta: int
    columns_to_descriptor: int
    fitting_cycles_per_atom: int
    neighbor_backward: int

    def cycles_per_atom(self, neighbors: int) -> int:
        """Cycles from atom to atom in a full pipeline: the slowest of the three phases."""
        return max(neighbors * self.cycles_per_neighbor, self.fitting_cycles_per_atom)

    def to_dict(self) -> dict[str, int]:
        """Plain values."""
        return asdict(self)


def latencies(cfg: AcceleratorConfig) -> Latency:
    """The latencies of a configuration."""
    with warnings.catch_warnings():
        # the components are asked, not built
        warnings.simplefilter("ignore", UnusedElaboratable)
        found = _ask(cfg)
        gc.collect()
    return found


def _ask(cfg: AcceleratorConfig) -> Latency:
    forward = NeighborForward(cfg)
    return Latency(
        cycles_per_neighbor=cfg.fold,
        beat_to_slot=forward.latency,
        slots_to_meta=forward.meta_latency,
        columns_to_descriptor=Descriptor(cfg).latency,
        fitting_cycles_per_atom=FitNet(cfg).schedule.atom_cycles(cfg.hidden),
        neighbor_backward=NeighborBackward(cfg).latency,
    )
