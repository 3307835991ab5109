"""The neighbours between the forward and the backward stages."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith.flt import FltLayout
from nvnmd.hdl.params import AcceleratorConfig, ceil_div
from nvnmd.hdl.pipeline.memories import make_memory


def slot_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """One slot of a neighbour: L channels of G and of the table's derivative dG/ds.

    In version 1 G is scaled by the type gain, dG/ds is not, and `gain` holds the gains (words); in
    SUB_VERSION 2 `factor` is what has not faded of them and `plain` the table's G.
    """
    lanes = data.ArrayLayout(FltLayout(cfg), cfg.lanes)
    gain = {"gain": data.ArrayLayout(cfg.flt_bits, cfg.lanes)} if cfg.version else {}
    more = {"factor": lanes, "plain": lanes} if cfg.switched else {}
    return data.StructLayout({"g": lanes, "dg": lanes, **gain, **more})


def meta_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """The fields of a neighbour that the backward stage needs besides its slots.

    `r` (3) and `r4` (s, h x, h y, h z), `h`, the table derivatives `ds` = ds/du and `dh` = dh/du;
    the largest exponents (not below cfg.exp_floor) of its G, its dG/ds and its four r4; `last`
    marks the atom's last neighbour. In version 1 `h` and `r4` are scaled by the inverse deviations,
    `ds` and `dh` are not, and `ctype` is the centre's type; in SUB_VERSION 2 `dk` is dk/du.
    """
    one = FltLayout(cfg)
    return data.StructLayout(
        {
            "r": data.ArrayLayout(one, 3),
            "h": one,
            "r4": data.ArrayLayout(one, 4),
            "ds": one,
            "dh": one,
            "gmax": signed(cfg.exp_int),
            "dgmax": signed(cfg.exp_int),
            "r4max": signed(cfg.exp_int),
            "last": 1,
            **({"ctype": cfg.type_bits} if cfg.version else {}),
            **({"dk": one} if cfg.switched else {}),
        }
    )


class NeighborStore(wiring.Component):
    """Two memories used as queues: slot words, and one meta word per neighbour.

    The forward stage writes a neighbour's slots in order and then pushes its meta word; what is
    announced on `meta` therefore has all its slots in the store. There is no refusal: the front
    end holds `cfg.store_neighbors` credits, spends one per real neighbour, and gets it back by
    `neighbor_return`.

    Latency: a meta word appears two cycles after it was pushed; a slot word one cycle after its
    `slot_next`. Throughput: one slot written and one read per cycle.

    Attributes
    ----------
    slot_valid, slot_i : In
        Append a slot word (`slot_layout`).
    meta_valid, meta_i : In
        Append a meta word (`meta_layout`), in the cycle of the neighbour's last slot word or later.
    meta : Out, stream of `meta_layout`
        The oldest neighbour.
    slot_next : In
        Read the next slot word.
    slot_o : Out
        The slot word asked for in the cycle before; held until the next one.
    neighbor_return : Out
        High for one cycle when a neighbour's last slot is read: its place is free.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        self.slots = ceil_div(cfg.m1, cfg.lanes)
        super().__init__(
            {
                "slot_valid": In(1),
                "slot_i": In(slot_layout(cfg)),
                "meta_valid": In(1),
                "meta_i": In(meta_layout(cfg)),
                "meta": Out(stream.Signature(meta_layout(cfg))),
                "slot_next": In(1),
                "slot_o": Out(slot_layout(cfg)),
                "neighbor_return": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        depth = cfg.store_neighbors * self.slots

        m.submodules.slot_memory = slot_memory = make_memory(slot_layout(cfg), depth)
        write, read = slot_memory.write_port(), slot_memory.read_port()
        head, tail = Signal(range(depth)), Signal(range(depth))
        m.d.comb += [
            write.addr.eq(head),
            write.data.eq(self.slot_i),
            write.en.eq(self.slot_valid),
            read.addr.eq(tail),
            read.en.eq(self.slot_next),
            self.slot_o.eq(read.data),
        ]
        with m.If(self.slot_valid):
            m.d.sync += head.eq(Mux(head == depth - 1, 0, head + 1))
        slot = Signal(range(max(2, self.slots)))
        with m.If(self.slot_next):
            m.d.sync += tail.eq(Mux(tail == depth - 1, 0, tail + 1))
            with m.If(slot == self.slots - 1):
                m.d.comb += self.neighbor_return.eq(1)
                m.d.sync += slot.eq(0)
            with m.Else():
                m.d.sync += slot.eq(slot + 1)

        # one entry for the queue's output register: the memory alone holds all that have credits
        m.submodules.meta_queue = queue = fifo.SyncFIFOBuffered(
            width=meta_layout(cfg).size, depth=cfg.store_neighbors + 1
        )
        m.d.comb += [
            queue.w_data.eq(self.meta_i.as_value()),
            queue.w_en.eq(self.meta_valid),
            self.meta.payload.as_value().eq(queue.r_data),
            self.meta.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.meta.ready),
        ]
        return m
