"""The top level: the core behind AXI4-Stream ports, in a clock domain of its own."""

from __future__ import annotations

from amaranth.hdl import Cat, ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.core import STATUS_BITS, Core
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import LANE_BITS, LANES
from nvnmd.hdl.verify.taps import STAGES, lanes_of

BEAT = LANES * LANE_BITS
DOMAIN = "core"


class Accelerator(wiring.Component):
    """`Core` with the port names of AXI4-Stream (ARM IHI 0051A).

    One clock `aclk`, one synchronous reset `aresetn` (active low), which form the domain ``core``.
    Streams: ``s_axis_load`` (128 bits), ``s_axis_nbr`` (128 bits), ``m_axis_energy`` (32 bits,
    tuser the centre type), ``m_axis_deriv`` (128 bits, tlast at the atom's last neighbour). A
    transfer happens in a cycle with tvalid and tready; reset in the middle of an atom or of a load
    forgets both and the loaded model.

    `verify`, held high until `verified` is, has all memories of the model read through the ports
    that evaluation uses: `digest` and `digest_copies` are then the CRC-32 of the image's header, if
    they hold the image (`nvnmd.hdl.host.loader`).
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._core = Core(cfg)
        ports = {"aclk": In(1), "aresetn": In(1), "status": Out(len(STATUS_BITS)),
                 "verify": In(1), "verified": Out(1),
                 "digest": Out(LANE_BITS), "digest_copies": Out(LANE_BITS)}
        for name in ("s_axis_load", "s_axis_nbr"):
            ports |= {
                f"{name}_tdata": In(BEAT), f"{name}_tvalid": In(1), f"{name}_tready": Out(1),
                f"{name}_tlast": In(1),
            }
        ports |= {
            "m_axis_energy_tdata": Out(LANE_BITS),
            "m_axis_energy_tuser": Out(8),
            "m_axis_energy_tvalid": Out(1),
            "m_axis_energy_tready": In(1),
            "m_axis_deriv_tdata": Out(BEAT),
            "m_axis_deriv_tvalid": Out(1),
            "m_axis_deriv_tready": In(1),
            "m_axis_deriv_tlast": Out(1),
        }
        if cfg.trace:
            ports |= {"fault": In(8), "fault_at": In(24)}
            ports["tap_valid"] = Out(len(STAGES))
            for name in STAGES:
                ports[f"tap_{name}"] = Out(getattr(self._core, f"tap_{name}_data").shape())
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core = self._core
        m.domains += ClockDomain(DOMAIN)
        m.submodules.core = DomainRenamer(DOMAIN)(core)
        lanes = [core.deriv.payload[name] for name in ("u", "x", "y", "z")]
        m.d.comb += [
            ClockSignal(DOMAIN).eq(self.aclk),
            ResetSignal(DOMAIN).eq(~self.aresetn),
            core.verify.eq(self.verify),
            self.verified.eq(core.verified),
            self.digest.eq(core.digests[0]),
            self.digest_copies.eq(core.digests[1]),
            core.load.payload.data.eq(self.s_axis_load_tdata),
            core.load.payload.last.eq(self.s_axis_load_tlast),
            core.load.valid.eq(self.s_axis_load_tvalid),
            self.s_axis_load_tready.eq(core.load.ready),
            core.nbr_data.eq(self.s_axis_nbr_tdata),
            core.nbr_last.eq(self.s_axis_nbr_tlast),
            core.nbr_valid.eq(self.s_axis_nbr_tvalid),
            self.s_axis_nbr_tready.eq(core.nbr_ready),
            self.m_axis_energy_tdata.eq(core.energy.payload.value),
            self.m_axis_energy_tuser.eq(core.energy.payload.ctype),
            self.m_axis_energy_tvalid.eq(core.energy.valid),
            core.energy.ready.eq(self.m_axis_energy_tready),
            self.m_axis_deriv_tdata.eq(lanes_of(m, lanes)),
            self.m_axis_deriv_tvalid.eq(core.deriv.valid),
            self.m_axis_deriv_tlast.eq(core.deriv.payload.last),
            core.deriv.ready.eq(self.m_axis_deriv_tready),
            self.status.eq(core.status),
        ]
        if self.cfg.trace:
            m.d.comb += [core.fault.eq(self.fault), core.fault_at.eq(self.fault_at)]
            valids = [getattr(core, f"tap_{name}_valid") for name in STAGES]
            m.d.comb += self.tap_valid.eq(Cat(*valids))
            for name in STAGES:
                m.d.comb += getattr(self, f"tap_{name}").eq(getattr(core, f"tap_{name}_data"))
        return m
