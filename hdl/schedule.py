"""The accelerator's latencies and pace, as its components state them."""

from __future__ import annotations

import gc
import warnings
from dataclasses import asdict, dataclass

from amaranth.hdl import UnusedElaboratable

from nvnmd.hdl.atom.descriptor import Descriptor
from nvnmd.hdl.neighbor.backward import NeighborBackward
from nvnmd.hdl.neighbor.forward import NeighborForward
from nvnmd.hdl.pace import Pace
from nvnmd.hdl.params import AcceleratorConfig


@dataclass(frozen=True)
class Latency(Pace):
    """The paces, and cycles on the way.

    Attributes
    ----------
    beat_to_slot : int
        From a neighbour's beat to its first embedding channels.
    slots_to_meta : int
        From its last channels to its entry in the neighbour store.
    columns_to_descriptor : int
        From an atom's last GR column to its first descriptor word.
    neighbor_backward : int
        From a neighbour leaving the store to its derivatives.
    """

    beat_to_slot: int
    slots_to_meta: int
    columns_to_descriptor: int
    neighbor_backward: int

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
        **asdict(Pace.of(cfg)),
        beat_to_slot=forward.latency,
        slots_to_meta=forward.meta_latency,
        columns_to_descriptor=Descriptor(cfg).latency,
        neighbor_backward=NeighborBackward(cfg).latency,
    )
