"""The backward pass of one neighbour: from dE/dGR to dE/du and dE/d(x, y, z)."""

from __future__ import annotations

from amaranth import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.dgr import dgr_port
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.store import meta_layout, slot_layout


def deriv_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """dE/du, dE/dx, dE/dy, dE/dz of one neighbour as flt words; `last`: the atom's last one."""
    word = cfg.flt_bits
    return data.StructLayout({"u": word, "x": word, "y": word, "z": word, "last": 1})


class NeighborBackward(wiring.Component):
    """Ports.

    dgr: the atom's dE/dGR; meta, slot_next, slot_o: the neighbour store.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        ports = {
            "dgr": In(dgr_port(cfg)),
            "meta": In(stream.Signature(meta_layout(cfg))),
            "slot_next": Out(1),
            "slot_o": In(slot_layout(cfg)),
            "deriv": Out(stream.Signature(deriv_layout(cfg))),
            "overflow": Out(1),
        }
        if cfg.trace:
            word = cfg.flt_bits
            ports |= {
                "fault": In(4),
                "tap_dr4": Out(data.StructLayout({"valid": 1, "words": data.ArrayLayout(word, 4)})),
                "tap_dg": Out(
                    data.StructLayout({"valid": 1, "words": data.ArrayLayout(word, cfg.lanes)})
                ),
                "tap_ds": Out(data.StructLayout({"valid": 1, "words": data.ArrayLayout(word, 1)})),
                "tap_dh": Out(data.StructLayout({"valid": 1, "words": data.ArrayLayout(word, 1)})),
            }
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        raise NotImplementedError
