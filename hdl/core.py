"""The accelerator's stages, joined in one clock domain.

Three phases work on three atoms at once: neighbours forward, the fitting net, neighbours backward.
Between them stand the neighbour store (G, dG/ds and what else the backward pass needs), the GR
columns, and the small queues of the stages; credits, not combinational chains, hold a stage back.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.atom.descriptor import Descriptor
from nvnmd.hdl.atom.gradient import GradDescriptor
from nvnmd.hdl.fitting.net import FitNet
from nvnmd.hdl.host.loader import LoadBeat, Loader
from nvnmd.hdl.neighbor.backward import NeighborBackward
from nvnmd.hdl.neighbor.forward import NeighborForward
from nvnmd.hdl.neighbor.front import FrontEnd
from nvnmd.hdl.neighbor.gr import GrAccumulate, GrFinalize
from nvnmd.hdl.neighbor.store import NeighborStore
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.loadbus import LANE_BITS, LANES
from nvnmd.hdl.pipeline.owners import share
from nvnmd.hdl.verify.taps import STAGES, Tap, flipped_flt, flt_lanes, lanes_of, words_per_beat

TYPE_FIELD = 8
STATUS_BITS = ("overflow", "bad_type", "too_many", "no_model", "bad_load", "model_valid", "busy",
               "too_near")
ERROR_BITS = STATUS_BITS[:5]
"""Those after which results are not to be trusted."""


class Core(wiring.Component):
    """All stages in the domain `sync`.

    Attributes
    ----------
    load : In, stream of `LoadBeat`
        Model images, see `nvnmd.hdl.host.image`.
    verify : In; verified, digests : Out
        Digests over the model's memories, see `nvnmd.hdl.host.loader`.
    nbr_valid, nbr_data, nbr_last : In; nbr_ready : Out
        Neighbour beats: 32-bit lanes x, y, z, control (neighbour type in bits 0-7, centre type in
        bits 8-15, bit 16: the atom has no neighbour).
    energy : Out, stream
        One word per atom with its centre type.
    deriv : Out, stream
        Four flt words per neighbour; `last` at the atom's last.
    status : Out
        Bits in the order of `STATUS_BITS`; `ERROR_BITS` and `too_near` stay until reset.
    fault, fault_at, tap_* : only with `cfg.trace`
        See `nvnmd.hdl.verify.taps`.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self._fitnet = FitNet(cfg)
        self._backward = NeighborBackward(cfg)
        ports = {
            "load": In(stream.Signature(LoadBeat())),
            "verify": In(1),
            "verified": Out(1),
            "digests": Out(data.ArrayLayout(LANE_BITS, 2)),
            "nbr_valid": In(1),
            "nbr_data": In(LANES * LANE_BITS),
            "nbr_last": In(1),
            "nbr_ready": Out(1),
            "energy": Out(stream.Signature(self._fitnet.energy.payload.shape())),
            "deriv": Out(stream.Signature(self._backward.deriv.payload.shape())),
            "status": Out(len(STATUS_BITS)),
        }
        self._taps: dict[str, Tap] = {}
        if cfg.trace:
            ports["fault"] = In(range(len(STAGES) + 1))
            ports["fault_at"] = In(24)
            for name in STAGES:
                words = words_per_beat(name, cfg, self._fitnet.post_lanes)
                self._taps[name] = Tap(name, words)
                ports[f"tap_{name}_valid"] = Out(1)
                ports[f"tap_{name}_data"] = Out(self._taps[name].bits)
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        cfg = self.cfg
        m = Module()
        m.submodules.loader = loader = Loader(cfg)
        m.submodules.front = front = FrontEnd(cfg, atoms=cfg.atoms)
        m.submodules.forward = forward = NeighborForward(cfg)
        m.submodules.accumulate = accumulate = GrAccumulate(cfg)
        m.submodules.finalize = finalize = GrFinalize(cfg, atoms=cfg.atoms)
        m.submodules.descriptor = descriptor = Descriptor(cfg, atoms=cfg.atoms)
        m.submodules.fitnet = fitnet = self._fitnet
        m.submodules.grad = grad = GradDescriptor(cfg, atoms=cfg.atoms)
        m.submodules.store = store = NeighborStore(cfg)
        m.submodules.backward = backward = self._backward
        for name, tap in self._taps.items():
            m.submodules[f"tap_{name}"] = tap
            m.d.comb += [
                tap.selected.eq(self.fault == 1 + STAGES.index(name)),
                tap.fault_at.eq(self.fault_at),
                getattr(self, f"tap_{name}_valid").eq(tap.valid),
                getattr(self, f"tap_{name}_data").eq(tap.words),
            ]

        wiring.connect(m, wiring.flipped(self.load), loader.beats)
        loads = [forward.load, finalize.load, fitnet.load]
        if cfg.version:
            loads.append(backward.load)
        share(m, loader.bus, *loads)
        m.d.comb += [
            loader.verify.eq(self.verify),
            self.verified.eq(loader.verified),
            self.digests.eq(loader.digests),
        ]
        bad_type = self._connect_input(m, loader, front)
        m.d.comb += [
            front.ntypes.eq(loader.ntypes),
            front.sel.eq(loader.sel),
            front.model_valid.eq(loader.model_valid),
            front.neighbor_return.eq(store.neighbor_return),
            front.atom_return.eq(descriptor.atom_return),
            forward.beat.eq(front.beat),
            forward.s_x0.eq(loader.s_x0),
            forward.near_shift.eq(loader.near_shift),
            accumulate.i.eq(forward.slot),
            finalize.sums.eq(accumulate.sums),
            finalize.nix_shift.eq(loader.nix_shift),
            descriptor.column.eq(finalize.column),
            grad.nix_shift.eq(loader.nix_shift),
            store.slot_valid.eq(forward.store_slot_valid),
            store.meta_valid.eq(forward.store_meta_valid),
            store.slot_next.eq(backward.slot_next),
            backward.slot_o.eq(store.slot_o),
        ]
        wiring.connect(m, store.meta, backward.meta)
        wiring.connect(m, grad.dgr, backward.dgr)
        self._connect_store(m, forward, store)
        self._connect_atoms(m, descriptor, fitnet, grad)
        self._connect_outputs(m, fitnet, backward)
        if cfg.trace:
            self._inner_taps(m, forward, fitnet, grad, backward)

        busy = self._busy(m, front)
        overflow = Signal()
        parts = (accumulate, finalize, descriptor, fitnet, grad, backward)
        with m.If(Cat(*(part.overflow for part in parts)).any()):
            m.d.sync += overflow.eq(1)
        too_near = Signal()
        with m.If(forward.too_near):
            m.d.sync += too_near.eq(1)
        bad_load = Signal()
        with m.If(loader.bad_load):
            m.d.sync += bad_load.eq(1)
        m.d.comb += [
            loader.hold.eq(busy),
            self.status.eq(
                Cat(overflow, front.bad_type | bad_type, front.too_many, front.no_model, bad_load,
                    loader.model_valid, busy, too_near)
            ),
        ]
        return m

    def _connect_input(self, m: Module, loader: Loader, front: FrontEnd) -> Signal:
        """Neighbour beats to the front end; a type the memories cannot hold is caught here."""
        cfg = self.cfg
        ntype = self.nbr_data.word_select(3, LANE_BITS)[:TYPE_FIELD]
        ctype = self.nbr_data.word_select(3, LANE_BITS)[TYPE_FIELD : 2 * TYPE_FIELD]
        none = self.nbr_data.word_select(3, LANE_BITS)[2 * TYPE_FIELD]
        payload = front.nbr.payload
        # such a beat is swallowed like any other that cannot be used: as one without a neighbour
        beyond, seen = Signal(), Signal()
        m.d.comb += [
            beyond.eq((ctype >= cfg.ntypes) | (~none & (ntype >= cfg.ntypes))),
            payload.x.eq(self.nbr_data.word_select(0, LANE_BITS)),
            payload.y.eq(self.nbr_data.word_select(1, LANE_BITS)),
            payload.z.eq(self.nbr_data.word_select(2, LANE_BITS)),
            payload.ntype.eq(ntype),
            payload.ctype.eq(ctype),
            payload.none.eq(none | beyond),
            payload.last.eq(self.nbr_last),
            front.nbr.valid.eq(self.nbr_valid & ~loader.loading),
            self.nbr_ready.eq(front.nbr.ready & ~loader.loading),
        ]
        with m.If(self.nbr_valid & self.nbr_ready & beyond & loader.model_valid):
            m.d.sync += seen.eq(1)
        return seen

    def _hit(self, name: str) -> Value | int:
        """The fault switch of a boundary; constant 0 without trace."""
        return self._taps[name].hit if self._taps else 0

    def _show(self, m: Module, name: str, valid: Value, words: Value) -> None:
        if self._taps:
            m.d.comb += [self._taps[name].valid.eq(valid), self._taps[name].words.eq(words)]

    def _connect_store(self, m: Module, forward: NeighborForward, store: NeighborStore) -> None:
        cfg = self.cfg
        meta, slot = forward.store_meta, forward.store_slot
        m.d.comb += [store.meta_i.eq(meta), store.slot_i.eq(slot)]
        if not cfg.trace:
            return
        kept, kept_slot = store.meta_i, store.slot_i
        for name, field in (("h", "h"), ("su", "ds"), ("hu", "dh")):
            m.d.comb += kept[field].as_value().eq(flipped_flt(meta[field], self._hit(name)))
            self._show(m, name, forward.store_meta_valid, flt_lanes(m, cfg, [kept[field]]))
        for c in range(4):
            hit = self._hit("s" if c == 0 else "r4")
            m.d.comb += kept.r4[c].as_value().eq(flipped_flt(meta.r4[c], hit))
        self._show(m, "s", forward.store_meta_valid, flt_lanes(m, cfg, [kept.r4[0]]))
        self._show(m, "r4", forward.store_meta_valid,
                   flt_lanes(m, cfg, [kept.r4[c] for c in range(1, 4)]))
        for name, field in (("g", "g"), ("gs", "dg")):
            for lane in range(cfg.lanes):
                m.d.comb += kept_slot[field][lane].as_value().eq(
                    flipped_flt(slot[field][lane], self._hit(name)))
            self._show(m, name, forward.store_slot_valid,
                       flt_lanes(m, cfg, [kept_slot[field][i] for i in range(cfg.lanes)]))

    def _connect_atoms(
        self, m: Module, descriptor: Descriptor, fitnet: FitNet, grad: GradDescriptor
    ) -> None:
        cfg = self.cfg
        for source, sink in ((descriptor.d, fitnet.d), (descriptor.gr, grad.gr),
                             (fitnet.dd, grad.dd)):
            m.d.comb += [
                sink.payload.eq(source.payload),
                sink.valid.eq(source.valid),
                source.ready.eq(sink.ready),
            ]
        if not cfg.trace:
            return
        for name, source, sink in (("d", descriptor.d, fitnet.d), ("dd", fitnet.dd, grad.dd)):
            m.d.comb += sink.payload.value.eq(source.payload.value ^ self._hit(name))
            self._show(m, name, sink.valid & sink.ready, lanes_of(m, [sink.payload.value]))
        for c in range(4):
            m.d.comb += grad.gr.payload.column[c].as_value().eq(
                flipped_flt(descriptor.gr.payload.column[c], self._hit("gr")))
        self._show(m, "gr", grad.gr.valid & grad.gr.ready,
                   flt_lanes(m, cfg, [grad.gr.payload.column[c] for c in range(4)]))

    def _connect_outputs(self, m: Module, fitnet: FitNet, backward: NeighborBackward) -> None:
        for source, sink in ((fitnet.energy, self.energy), (backward.deriv, self.deriv)):
            m.d.comb += [
                sink.payload.eq(source.payload),
                sink.valid.eq(source.valid),
                source.ready.eq(sink.ready),
            ]
        if not self.cfg.trace:
            return
        m.d.comb += self.energy.payload.value.eq(fitnet.energy.payload.value ^ self._hit("energy"))
        self._show(m, "energy", self.energy.valid & self.energy.ready,
                   lanes_of(m, [self.energy.payload.value]))
        names = ("u", "x", "y", "z")
        for name in names:
            word = backward.deriv.payload[name]
            m.d.comb += self.deriv.payload[name].eq(word ^ (self._hit("deriv") & word.any()))
        self._show(m, "deriv", self.deriv.valid & self.deriv.ready,
                   lanes_of(m, [self.deriv.payload[name] for name in names]))

    def _inner_taps(self, m: Module, forward: NeighborForward, fitnet: FitNet,
                    grad: GradDescriptor, backward: NeighborBackward) -> None:
        """Taps inside a stage, which falsifies by itself."""
        m.d.comb += [
            forward.fault.eq(self._hit("u")),
            fitnet.fault.eq(self._hit("z")),
            grad.fault.eq(self._hit("dgr")),
            backward.fault.eq(Cat(*(self._hit(name) for name in ("dr4", "dg", "ds", "dh")))),
        ]
        self._show(m, "u", forward.tap_u.valid, lanes_of(m, [forward.tap_u.word]))
        place = [fitnet.z_place] if self.cfg.fit_atoms > 1 else []
        self._show(m, "z", fitnet.z_valid, lanes_of(m, [*place, *fitnet.z]))
        self._show(m, "dgr", grad.tap_dgr.valid, lanes_of(m, list(grad.tap_dgr.words)))
        for name in ("dr4", "dg", "ds", "dh"):
            tap = getattr(backward, f"tap_{name}")
            self._show(m, name, tap.valid, lanes_of(m, list(tap.words)))

    def _busy(self, m: Module, front: FrontEnd) -> Signal:
        """High from an atom's first beat until its last word has been taken."""
        energies, derivs = Signal(16), Signal(16)
        busy = Signal()
        beat = front.beat
        m.d.sync += [
            energies.eq(
                energies + (beat.valid & beat.last_of_atom)
                - (self.energy.valid & self.energy.ready)
            ),
            derivs.eq(
                derivs + (beat.valid & beat.last)
                - (self.deriv.valid & self.deriv.ready & self.deriv.payload.last)
            ),
        ]
        m.d.comb += busy.eq(
            front.busy | beat.valid | (energies != 0) | (derivs != 0)
            | (self.nbr_valid & self.nbr_ready)
        )
        return busy
