"""The fitting net in hardware: one atom's descriptor in, its energy and dE/dD out.

See docs/schedule_fitnet.md for the exact integers and the cycle of every word.
"""

from __future__ import annotations

from amaranth.hdl import Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.load import LoadBus
from nvnmd.hdl.params import AcceleratorConfig


class FitNetSignature(wiring.Signature):
    """Ports of the fitting net.

    ``d``: width beats per atom, {value (data_bits, fix_frac fraction bits), ctype, last};
    ``energy``: one beat per atom, {value (energy_bits, fix_frac fraction bits), ctype};
    ``dd``: width beats per atom, {value (data_bits), last}; ``overflow``: a pulse whenever a value
    leaves its format. With `trace`: ``z_valid`` marks a group of ``len(z)`` consecutive outputs
    ``z_index..`` of hidden layer ``z_layer`` before the activation.
    """

    def __init__(self, cfg: AcceleratorConfig, lanes: int) -> None:
        word = signed(cfg.data_bits)
        members = {
            "load": In(LoadBus()),
            "d": In(stream.Signature(
                data.StructLayout({"value": word, "ctype": cfg.type_bits, "last": 1}))),
            "energy": Out(stream.Signature(
                data.StructLayout({"value": signed(cfg.energy_bits), "ctype": cfg.type_bits}))),
            "dd": Out(stream.Signature(data.StructLayout({"value": word, "last": 1}))),
            "overflow": Out(1),
        }
        if cfg.trace:
            members |= {
                "z_valid": Out(1),
                "z_layer": Out(range(cfg.hidden)),
                "z_index": Out(range(cfg.width)),
                "z": Out(data.ArrayLayout(word, lanes)),
            }
        super().__init__(members)


class FitNet(wiring.Component):
    """Fitting net, forward and backward, one atom after the other (ports: `FitNetSignature`)."""

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.post_lanes = max(1, cfg.fit_cols * cfg.fit_rows // cfg.width)
        super().__init__(FitNetSignature(cfg, self.post_lanes))

    def elaborate(self, platform: object) -> Module:
        raise NotImplementedError("the schedule is being written")
