"""The multiplier array of the fitting net and the memory of its weights."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.errors import InputError
from nvnmd.hdl.arith.fixed import delayed, tree_latency, tree_sum
from nvnmd.hdl.arith.multiplier import Multiplier
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.lane_memory import log2, span
from nvnmd.hdl.pipeline.loadbus import LANE_BITS, LANES, LoadBus, Section
from nvnmd.hdl.pipeline.memories import make_memory
from nvnmd.hdl.pipeline.owners import answer, asked, joined


def mac_latency(cfg: AcceleratorConfig) -> int:
    """Cycles from a block's last step to its sums: memory, register, product, tree, sum."""
    return 3 + cfg.mult_latency + tree_latency(cfg.fit_rows)


class MacArray(wiring.Component):
    """``sums[c] = sum_r x[r] * w[r, c]`` for a block of `fit_cols` outputs, exact.

    A step takes `fit_rows` inputs (chunk `chunk`, handed over one cycle after the step) times
    `fit_cols` columns (block `block`) of matrix `matrix`; ``first`` and ``last`` delimit a block's
    width/fit_rows steps. Matrices: ``type*hidden + layer`` forward, the same plus
    ``ntypes*hidden`` backward (transposed). One memory word holds the step's
    fit_rows*fit_cols mantissas; a load beat writes four of them.

    Latency: from the last step to ``sums_valid`` (one cycle) `latency` cycles. Throughput: one
    step per cycle, blocks back to back.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        if cfg.fit_cols < LANES:
            raise InputError(f"accelerator: fit_cols is {cfg.fit_cols}, expected at least {LANES}")
        self.matrices = 2 * cfg.nets * cfg.hidden
        self.chunks = cfg.width // cfg.fit_rows
        self.blocks = cfg.width // cfg.fit_cols
        self.sum_bits = cfg.data_bits + cfg.weight_bits + log2(cfg.width)
        word = signed(cfg.data_bits)
        super().__init__(
            {
                "load": In(LoadBus()),
                "step": In(1),
                "first": In(1),
                "last": In(1),
                "matrix": In(span(self.matrices)),
                "chunk": In(span(self.chunks)),
                "block": In(span(self.blocks)),
                "x": In(data.ArrayLayout(word, cfg.fit_rows)),
                "sums_valid": Out(1),
                "sums": Out(data.ArrayLayout(signed(self.sum_bits), cfg.fit_cols)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a block's last step to its sums."""
        return mac_latency(self.cfg)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        rows, cols = cfg.fit_rows, cfg.fit_cols
        mantissa = signed(cfg.weight_bits)
        granule = data.ArrayLayout(mantissa, LANES)
        granules = rows * cols // LANES
        m.submodules.weights = weights = make_memory(
            data.ArrayLayout(granule, granules), self.matrices * self.chunks * self.blocks)
        checking, address, place = self._connect_load(
            m, weights.write_port(granularity=1 if granules > 1 else None), granules)

        read = weights.read_port()
        m.d.comb += [
            read.en.eq(1),
            read.addr.eq(Mux(checking, address,
                             self._address(self.matrix, self.chunk, self.block))),
        ]
        # registers behind the memories: their outputs fan out to the whole array
        w = Signal(weights.shape, reset_less=True)
        x = Signal(self.x.shape(), reset_less=True)
        m.d.sync += [w.eq(read.data), x.eq(self.x)]
        four = Signal(granule)
        m.d.comb += [
            four.as_value().eq(w.as_value().word_select(place, LANES * cfg.weight_bits)),
            self.load.back.eq(joined(*(
                answer(m, self.load, section, [*four], since=3)
                for section in (Section.FIT_FORWARD, Section.FIT_BACKWARD)))),
        ]

        behind = 2 + cfg.mult_latency + tree_latency(rows)
        first = delayed(m, self.step & self.first, behind)
        m.d.sync += self.sums_valid.eq(delayed(m, self.step & self.last, behind))
        adding = delayed(m, self.step, behind)
        for col in range(cols):
            products = []
            for row in range(rows):
                mult = Multiplier(cfg.data_bits, cfg.weight_bits, cfg.mult_latency, cfg.family)
                m.submodules[f"mult_{row}_{col}"] = mult
                lane = row * cols + col
                m.d.comb += [mult.a.eq(x[row]), mult.b.eq(w[lane // LANES][lane % LANES])]
                products.append(mult.p)
            total = tree_sum(m, products)
            so_far = Signal(signed(self.sum_bits), name=f"sum{col}", reset_less=True)
            with m.If(adding):
                m.d.sync += so_far.eq(total + so_far)
                with m.If(first):
                    m.d.sync += so_far.eq(total)
            m.d.comb += self.sums[col].eq(so_far)
        return m

    def _address(self, matrix: Value, chunk: Value, block: Value) -> Value:
        """Memory word of a step: matrix, chunk, block from the top, each in its own bits."""
        return Cat(block[:log2(self.blocks)], chunk[:log2(self.chunks)], matrix)

    def _connect_load(self, m: Module, write: memory.WritePort, granules: int
                      ) -> tuple[Value, Value, Value]:
        """Turn load beats into writes of four mantissas, one cycle later.

        Returns what reads them back: whether a beat is asked for, its address, and its place in
        the memory's row when that is there.
        """
        cfg = self.cfg
        index = self.load.index
        per_row = log2(cfg.width // LANES)
        per_block = log2(cfg.fit_cols // LANES)
        quad = index[:per_row]
        row = index[per_row:per_row + log2(cfg.width)]
        matrix = index[per_row + log2(cfg.width):]
        forward = self.load.section == Section.FIT_FORWARD
        backward = self.load.section == Section.FIT_BACKWARD
        half = cfg.nets * cfg.hidden
        place = Cat(quad[:per_block], row[:log2(cfg.fit_rows)])
        known = self.load.valid & (matrix < half) & (forward | backward)

        enable = Signal(granules)
        address = Signal.like(write.addr, reset_less=True)
        lanes = Signal(LANES * cfg.weight_bits, reset_less=True)
        base = Signal(span(self.matrices))
        m.d.comb += base.eq(matrix)
        with m.If(backward):
            m.d.comb += base.eq(matrix + half)
        m.d.sync += [
            enable.eq(known << place if granules > 1 else known),
            address.eq(self._address(base, row[log2(cfg.fit_rows):], quad[per_block:])),
            lanes.eq(Cat(
                self.load.data.word_select(i, LANE_BITS)[:cfg.weight_bits] for i in range(LANES))),
        ]
        m.d.comb += [
            write.en.eq(enable),
            write.addr.eq(address),
            write.data.as_value().eq(lanes.replicate(granules)),
        ]
        either = (asked(self.load, Section.FIT_FORWARD)
                  | asked(self.load, Section.FIT_BACKWARD))
        return delayed(m, either, 1), address, delayed(m, place, 3)

    def compute(self, x: list[int], w: list[list[int]]) -> list[int]:
        """Sums of one block: x has width words, w[row] the block's fit_cols mantissas."""
        return [sum(a * row[col] for a, row in zip(x, w, strict=True))
                for col in range(self.cfg.fit_cols)]
