"""The multiplier array of the fitting net with each weight kept once, for both directions.

Forward a weight's mantissa is cut by its column's exponent, backward by its row's. Both are the
weight's whole number of ``2**-23``, shifted right; so one word per weight serves both. What
differs is the way through the array:

- forward, a step takes one input to all lanes, and every lane sums its own output;
- backward, a step takes `fit_cols` inputs, one per lane, for one output: a tree sums the lanes'
  products. The outputs of a block follow one another, then again with the next inputs; their sums
  go round in a ring. So the last inputs are needed late, and a pass rarely waits for them.

Either way a block of `fit_cols` outputs takes `width` steps and is handed over at once.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.errors import InputError
from nvnmd.hdl.arith.fixed import delayed, tree_latency, tree_sum
from nvnmd.hdl.arith.multiplier import Multiplier
from nvnmd.hdl.fitting.weights import GRID_BITS, cut_bits, cut_offset
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.deep_memory import DeepMemory
from nvnmd.hdl.pipeline.lane_memory import LaneMemory, log2, span
from nvnmd.hdl.pipeline.loadbus import LANE_BITS, LANES, LoadBus, Section
from nvnmd.hdl.pipeline.owners import answer, asked, connect_load, joined


def one_copy_latency(cfg: AcceleratorConfig) -> int:
    """Cycles from a block's last step to its sums: memory, register, cut, product, tree, sum."""
    return 4 + cfg.mult_latency + tree_latency(cfg.fit_cols)


class OneCopyArray(wiring.Component):
    """``sums[c] = sum_r x[r] * w[r, c]`` for a block of `fit_cols` outputs, exact.

    The ports are those of `MacArray` with one row, and besides ``backward``, which says that the
    pass takes the transposed matrix, and ``across``, the inputs of a backward step: the `fit_cols`
    words of block ``chunk // fit_cols``, one cycle after the step as `x` is. `matrix` counts
    backward matrices behind the forward ones, as in `MacArray`.

    Latency: from the last step to ``sums_valid`` (one cycle) `latency` cycles, either way.
    Throughput: one step per cycle, blocks back to back; a backward pass may follow a forward one at
    once. `fit_cols` multipliers.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        self.cfg = cfg
        if cfg.fit_cols < LANES:
            raise InputError(f"accelerator: fit_cols is {cfg.fit_cols}, expected at least {LANES}")
        self.half = cfg.nets * cfg.hidden
        self.chunks = cfg.width
        self.blocks = cfg.width // cfg.fit_cols
        self.sum_bits = cfg.data_bits + cfg.weight_bits + log2(cfg.width)
        word = signed(cfg.data_bits)
        super().__init__(
            {
                "load": In(LoadBus()),
                "step": In(1),
                "first": In(1),
                "last": In(1),
                "backward": In(1),
                "matrix": In(span(2 * self.half)),
                "chunk": In(span(self.chunks)),
                "block": In(span(self.blocks)),
                "x": In(data.ArrayLayout(word, 1)),
                "across": In(data.ArrayLayout(word, cfg.fit_cols)),
                "sums_valid": Out(1),
                "sums": Out(data.ArrayLayout(signed(self.sum_bits), cfg.fit_cols)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a block's last step to its sums."""
        return one_copy_latency(self.cfg)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, cols = self.cfg, self.cfg.fit_cols
        weights, checking, address, granule = self._weights(m)
        m.submodules.cuts = cuts = LaneMemory(
            2 * self.half * cfg.width, cut_bits(cfg), write_lanes=LANES, read_lanes=cols)
        back_cuts = connect_load(m, self.load, Section.FIT_COLUMN, cuts, plus=cut_offset(cfg),
                                 second=True)

        # backward: output `row` of the block, from block `taken` of the inputs
        row, taken = self.chunk[:log2(cols)], self.chunk[log2(cols):]
        block = self.block[:log2(self.blocks)]
        m.d.comb += [
            weights.r_index.eq(Mux(checking, address, Mux(
                self.backward,
                self._address(self.matrix - self.half, Cat(row, block), taken),
                self._address(self.matrix, self.chunk, self.block)))),
            cuts.r_index.eq(Cat(block, self.matrix)),
        ]
        back_read, row_read = delayed(m, self.backward, 1), delayed(m, row, 1)
        w = Signal(weights.r_data.shape(), reset_less=True)
        cut_by = Signal(cuts.r_data.shape(), reset_less=True)
        inputs = Signal(self.across.shape(), reset_less=True)
        lanes_cuts = [Value.cast(cuts.r_data[c]) for c in range(cols)]
        of_row = Array(lanes_cuts)[row_read]
        m.d.sync += w.eq(weights.r_data)
        read = Signal(w.shape().elem_shape)
        m.d.comb += [
            read.as_value().eq(w.as_value().word_select(granule, LANES * GRID_BITS)),
            self.load.back.eq(joined(
                back_cuts,
                answer(m, self.load, Section.FIT_FORWARD, [*read], since=3))),
        ]
        for c in range(cols):
            m.d.sync += [
                inputs[c].eq(Mux(back_read, self.across[c], self.x[0])),
                cut_by[c].eq(Mux(back_read, of_row, lanes_cuts[c])),
            ]

        made = 3 + cfg.mult_latency  # cycles from a step to its products
        products = []
        for c in range(cols):
            mantissa = Signal(signed(cfg.weight_bits), name=f"mantissa{c}", reset_less=True)
            word = w[c // LANES][c % LANES]
            m.d.sync += mantissa.eq(word >> cut_by[c])
            m.submodules[f"mult_{c}"] = mult = Multiplier(
                cfg.data_bits, cfg.weight_bits, cfg.mult_latency, cfg.family)
            m.d.comb += [mult.a.eq(delayed(m, inputs[c], 1)), mult.b.eq(mantissa)]
            products.append(mult.p)

        forward_sums = self._forward(m, products, made)
        total = tree_sum(m, products)
        behind = made + tree_latency(cols)
        adding = delayed(m, self.step & self.backward, behind)
        begins = delayed(m, taken == 0, behind)
        forward_ends = delayed(m, self.step & self.last & ~self.backward, made + 1)
        # forward the sums wait here until they are due; backward they go round
        with m.If(forward_ends):
            for c in range(cols):
                m.d.sync += self.sums[c].eq(forward_sums[c])
        with m.Elif(adding):
            m.d.sync += self.sums[cols - 1].eq(total + Mux(begins, 0, self.sums[0]))
            for c in range(cols - 1):
                m.d.sync += self.sums[c].eq(self.sums[c + 1])
        m.d.sync += self.sums_valid.eq(delayed(m, self.step & self.last, self.latency - 1))
        return m

    def _forward(self, m: Module, products: list[Value], made: int) -> list[Signal]:
        """Every lane's own sum."""
        adding = delayed(m, self.step & ~self.backward, made)
        first = delayed(m, self.first, made)
        found = []
        for c, product in enumerate(products):
            so_far = Signal(signed(self.sum_bits), name=f"sum{c}", reset_less=True)
            with m.If(adding):
                m.d.sync += so_far.eq(product + Mux(first, 0, so_far))
            found.append(so_far)
        return found

    def _address(self, matrix: Value, row: Value, block: Value) -> Value:
        """Memory row of a matrix's row and block of columns, each in its own bits."""
        return Cat(block[:log2(self.blocks)], row[:log2(self.chunks)], matrix[:len(self.matrix)])

    def _weights(self, m: Module) -> tuple[DeepMemory, Value, Value, Value]:
        """The memory of the weights; a load beat writes four of them, one cycle later.

        And what reads them back: whether a beat is asked for, its address, and its place in the
        row when that is there.
        """
        cfg = self.cfg
        granule = data.ArrayLayout(signed(GRID_BITS), LANES)
        granules = cfg.fit_cols // LANES
        m.submodules.weights = weights = DeepMemory(
            self.half * self.chunks * self.blocks, data.ArrayLayout(granule, granules))
        index = self.load.index
        per_row, per_block = log2(cfg.width // LANES), log2(granules)
        quad, row = index[:per_row], index[per_row:per_row + log2(cfg.width)]
        matrix = index[per_row + log2(cfg.width):]
        known = (self.load.valid & (matrix < self.half)
                 & (self.load.section == Section.FIT_FORWARD))
        enable = Signal(granules)
        address = Signal.like(weights.w_index, reset_less=True)
        lanes = Signal(LANES * GRID_BITS, reset_less=True)
        m.d.sync += [
            enable.eq(known << quad[:per_block] if granules > 1 else known),
            address.eq(self._address(matrix, row, quad[per_block:])),
            lanes.eq(Cat(
                self.load.data.word_select(i, LANE_BITS)[:GRID_BITS] for i in range(LANES))),
        ]
        m.d.comb += [
            weights.w_en.eq(enable),
            weights.w_index.eq(address),
            weights.w_data.as_value().eq(lanes.replicate(granules)),
        ]
        checking = delayed(m, asked(self.load, Section.FIT_FORWARD), 1)
        return weights, checking, address, delayed(m, quad[:per_block], 3)

    def compute(self, x: list[int], w: list[list[int]]) -> list[int]:
        """Sums of one block: x has width words, w[row] the block's fit_cols mantissas."""
        return [sum(a * row[col] for a, row in zip(x, w, strict=True))
                for col in range(self.cfg.fit_cols)]
