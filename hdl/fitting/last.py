"""The fitting net's last layer: one output forward, its weights as the first gradient backward."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.hdl.arith.fixed import (
    SHIFT_LATENCY,
    delayed,
    leaves,
    net_of,
    shift_right,
    tree_latency,
    tree_sum,
)
from nvnmd.hdl.arith.multiplier import Multiplier
from nvnmd.hdl.fitting.weights import SHIFT_BITS
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.lane_memory import LaneMemory, log2, span
from nvnmd.hdl.pipeline.loadbus import LANE_BITS, LANES, LoadBus, Section
from nvnmd.hdl.pipeline.owners import answer, connect_load, joined


class LastLayer(wiring.Component):
    """``energy = (sum_j x[j]*w[j] >> n) + bias`` and ``grad[j] = (w[j] << fix_frac) >> n``.

    ``n = weight_frac - e`` with the exponent e of the whole matrix; shifts floor. `x` arrives in
    groups of `lanes` with `x_first` and `x_last` around an atom's width/lanes groups; `energy`
    follows the last group by `energy_latency` cycles. `grad` follows its request by
    `grad_latency`. Throughput: one group of each per cycle. `lanes` multipliers.
    """

    def __init__(self, cfg: AcceleratorConfig, lanes: int) -> None:
        self.cfg = cfg
        self.lanes = lanes
        self.groups = cfg.width // lanes
        self.sum_bits = cfg.data_bits + cfg.weight_bits + log2(cfg.width)
        words = data.ArrayLayout(signed(cfg.data_bits), lanes)
        super().__init__(
            {
                "load": In(LoadBus()),
                "x_valid": In(1),
                "x_first": In(1),
                "x_last": In(1),
                "x_type": In(cfg.type_bits),
                "x_group": In(span(self.groups)),
                "x": In(words),
                "energy_valid": Out(1),
                "energy": Out(signed(cfg.energy_bits)),
                "energy_type": Out(cfg.type_bits),
                "overflow": Out(1),
                "grad_type": In(cfg.type_bits),
                "grad_group": In(span(self.groups)),
                "grad": Out(words),
                "grad_overflow": Out(1),
            }
        )

    @property
    def energy_latency(self) -> int:
        """Cycles from the last group to the energy."""
        return 3 + self.cfg.mult_latency + tree_latency(self.lanes) + SHIFT_LATENCY

    @property
    def grad_latency(self) -> int:
        """Cycles from a request to the gradient."""
        return 1 + SHIFT_LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg = self.cfg
        (forward, back), (backward, back_back) = (
            self._weights(m, section)
            for section in (Section.FIT_LAST_FORWARD, Section.FIT_LAST_BACKWARD)
        )
        shifts, shifts_back, biases, back_scalars = self._scalars(m)
        m.d.comb += self.load.back.eq(joined(back, back_back, back_scalars))

        # forward
        m.d.comb += forward.r_index.eq(
            Cat(self.x_group[:log2(self.groups)], net_of(cfg, self.x_type)))
        x = Signal(self.x.shape(), reset_less=True)
        m.d.sync += x.eq(self.x)
        products = []
        for lane in range(self.lanes):
            m.submodules[f"mult{lane}"] = mult = Multiplier(
                cfg.data_bits, cfg.weight_bits, cfg.mult_latency, cfg.family)
            m.d.comb += [mult.a.eq(x[lane]), mult.b.eq(forward.r_data[lane])]
            products.append(mult.p)
        total = tree_sum(m, products)
        so_far = Signal(signed(self.sum_bits), reset_less=True)
        behind = 1 + cfg.mult_latency + tree_latency(self.lanes)
        adding, first = (delayed(m, bit, behind) for bit in (self.x_valid, self.x_first))
        with m.If(adding):
            m.d.sync += so_far.eq(total + Mux(first, 0, so_far))
        kind = delayed(m, self.x_type, behind + 1)
        shifted = shift_right(m, so_far, shifts[net_of(cfg, kind)])
        kind_end = delayed(m, kind, SHIFT_LATENCY)
        result = Signal(signed(self.sum_bits + 1), reset_less=True)
        m.d.sync += [
            result.eq(shifted + biases[net_of(cfg, kind_end)]),
            self.energy_type.eq(kind_end),
            self.energy_valid.eq(
                delayed(m, self.x_valid & self.x_last, self.energy_latency - 1)),
        ]
        m.d.comb += [
            self.energy.eq(result),
            self.overflow.eq(self.energy_valid & leaves(result, cfg.energy_bits)),
        ]

        # backward: the gradient of the output by itself is 1, that is 2**fix_frac
        m.d.comb += backward.r_index.eq(
            Cat(self.grad_group[:log2(self.groups)], net_of(cfg, self.grad_type)))
        amount = shifts_back[net_of(cfg, delayed(m, self.grad_type, 1))]
        bad = []
        for lane in range(self.lanes):
            one = Signal(signed(cfg.weight_bits + cfg.fix_frac), name=f"one{lane}")
            m.d.comb += one.eq(backward.r_data[lane] << cfg.fix_frac)
            grad = shift_right(m, one, amount)
            m.d.comb += self.grad[lane].eq(grad)
            bad.append(leaves(grad, cfg.data_bits))
        m.d.comb += self.grad_overflow.eq(Cat(bad).any())
        return m

    def _weights(self, m: Module, section: Section) -> tuple[LaneMemory, Value]:
        """The mantissas of every net, four written at once, and what is read back of them."""
        cfg = self.cfg
        mem = LaneMemory(cfg.nets * cfg.width, signed(cfg.weight_bits),
                         write_lanes=LANES, read_lanes=self.lanes)
        m.submodules[section.name.lower()] = mem
        return mem, connect_load(m, self.load, section, mem)

    def _scalars(self, m: Module) -> tuple[Array, Array, Array, Value]:
        """Per net: shifts forward and backward, bias; and what is read back of them."""
        cfg = self.cfg
        listed = self.load.valid & (self.load.section == Section.FIT_LAST)
        # as many as a type's bits can name, so that none is undefined
        count = 1 << cfg.type_bits if cfg.version == 0 else 1
        shifts = Array(Signal(SHIFT_BITS, name=f"shift{t}") for t in range(count))
        shifts_back = Array(Signal(SHIFT_BITS, name=f"shift_back{t}") for t in range(count))
        biases = Array(Signal(signed(cfg.energy_bits), name=f"bias{t}") for t in range(count))
        word = [self.load.data.word_select(i, LANE_BITS) for i in range(LANES)]
        for t in range(cfg.nets):
            with m.If(listed & (self.load.index == t)):
                m.d.sync += [
                    shifts[t].eq(cfg.weight_frac - word[0]),
                    shifts_back[t].eq(cfg.weight_frac - word[1]),
                    biases[t].eq(word[2][:cfg.energy_bits]),
                ]
        net = delayed(m, self.load.index[:max(1, (count - 1).bit_length())], 3)
        back = answer(m, self.load, Section.FIT_LAST,
                      [cfg.weight_frac - shifts[net], cfg.weight_frac - shifts_back[net],
                       biases[net]], since=3)
        return shifts, shifts_back, biases, back

    def compute(self, x: list[int], w: list[int], shift: int, bias: int) -> tuple[int, list[int]]:
        """Energy and gradient of one atom; w are one type's mantissas."""
        energy = (sum(a * b for a, b in zip(x, w, strict=True)) >> shift) + bias
        return energy, [(b << self.cfg.fix_frac) >> shift for b in w]
