"""The accelerator behind the link: what runs on every board, and on the simulated one."""

from __future__ import annotations

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.boards.application import LAST_BIT, AcceleratorApp
from nvnmd.boards.link.endpoint import Endpoint
from nvnmd.hdl.axi import BEAT, Accelerator
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import LANE_BITS

DOMAIN = "board"


class FlatBoard(wiring.Component):
    """A board behind byte streams, with plain names of ports, for programs that turn its clock."""

    def __init__(self, board: wiring.Component) -> None:
        self._board = board
        super().__init__({
            "aclk": In(1), "aresetn": In(1),
            "rx_data": In(8), "rx_valid": In(1), "rx_ready": Out(1),
            "tx_data": Out(8), "tx_valid": Out(1), "tx_ready": In(1), "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains += ClockDomain(DOMAIN)
        board = self._board
        m.submodules.board = DomainRenamer(DOMAIN)(board)
        m.d.comb += [
            ClockSignal(DOMAIN).eq(self.aclk), ResetSignal(DOMAIN).eq(~self.aresetn),
            board.rx.payload.eq(self.rx_data), board.rx.valid.eq(self.rx_valid),
            self.rx_ready.eq(board.rx.ready),
            self.tx_data.eq(board.tx.payload), self.tx_valid.eq(board.tx.valid),
            board.tx.ready.eq(self.tx_ready), self.busy.eq(board.busy),
        ]
        return m


class LinkedAccelerator(wiring.Component):
    """Link, application and accelerator in one clock domain, between two byte streams.

    Attributes
    ----------
    rx : In, tx : Out
        Streams of bytes.
    busy : Out
        Something is at work.
    """

    def __init__(self, cfg: AcceleratorConfig, request_words: int, reply_words: int) -> None:
        self.cfg = cfg
        self.request_words, self.reply_words = request_words, reply_words
        super().__init__({
            "rx": In(stream.Signature(8)), "tx": Out(stream.Signature(8)), "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.endpoint = endpoint = Endpoint(self.request_words, self.reply_words)
        m.submodules.app = app = AcceleratorApp(self.cfg, self.request_words, self.reply_words)
        m.submodules.accelerator = core = Accelerator(self.cfg)
        wiring.connect(m, wiring.flipped(self.rx), endpoint.rx)
        wiring.connect(m, endpoint.tx, wiring.flipped(self.tx))
        wiring.connect(m, endpoint.app, app.app)
        reset = Signal(init=1)
        m.d.sync += reset.eq(app.reset)
        m.d.comb += [
            app.dropped.eq(endpoint.dropped), app.repeated.eq(endpoint.repeated),
            core.aclk.eq(ClockSignal()), core.aresetn.eq(~(reset | ResetSignal())),
            core.s_axis_load_tdata.eq(app.beat), core.s_axis_load_tlast.eq(app.beat_last),
            core.s_axis_load_tvalid.eq(app.load_valid), app.load_ready.eq(core.s_axis_load_tready),
            # bits above the control's fields are the link's own
            core.s_axis_nbr_tdata.eq(app.beat & ((1 << BEAT - LANE_BITS + LAST_BIT) - 1)),
            core.s_axis_nbr_tlast.eq(app.beat_last),
            core.s_axis_nbr_tvalid.eq(app.nbr_valid), app.nbr_ready.eq(core.s_axis_nbr_tready),
            app.energy.eq(core.m_axis_energy_tdata), app.energy_valid.eq(core.m_axis_energy_tvalid),
            core.m_axis_energy_tready.eq(app.energy_ready),
            app.deriv.eq(core.m_axis_deriv_tdata), app.deriv_valid.eq(core.m_axis_deriv_tvalid),
            core.m_axis_deriv_tready.eq(app.deriv_ready),
            app.status.eq(core.status), self.busy.eq(endpoint.busy | app.verify),
            core.verify.eq(app.verify), app.verified.eq(core.verified),
            app.digest.eq(core.digest), app.digest_copies.eq(core.digest_copies),
        ]
        return m
