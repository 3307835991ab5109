"""Post-processing of a layer's sums: shift, bias, activation, skips, gradients."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.errors import InputError
from nvnmd.hdl.arith.fixed import (
    SHIFT_LATENCY,
    delayed,
    gradient_drop,
    leaves,
    round_shift,
    shift_right,
)
from nvnmd.hdl.arith.multiplier import Multiplier
from nvnmd.hdl.arith.tanh4 import Tanh4, tanh4_latency
from nvnmd.hdl.fitting.last import LastLayer
from nvnmd.hdl.fitting.weights import SHIFT_BITS
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.pipeline.lane_memory import LaneMemory, log2, span
from nvnmd.hdl.pipeline.loadbus import LANES, LoadBus, Section
from nvnmd.hdl.pipeline.owners import connect_load, share

# cycles from the hold register (stage 0) to the value before the activation: memory, shift, add
_SUM_STAGE = 1 + SHIFT_LATENCY + 1


def post_latency(cfg: AcceleratorConfig) -> int:
    """Cycles from a block's sums to its first group of results."""
    return 1 + _SUM_STAGE + tanh4_latency(cfg) + cfg.mult_latency + 1


class JobLayout(data.StructLayout):
    """One pass of the array: `layer` forward or `backward`, for an atom of type `ctype`.

    `matrix` is the array's matrix number, `bank` the activation bank the results go to, `place`
    the atom's place among those that take turns.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        super().__init__(
            {
                "backward": 1,
                "layer": span(cfg.hidden),
                "ctype": cfg.type_bits,
                "matrix": span(2 * cfg.nets * cfg.hidden),
                "bank": 1,
                "place": span(cfg.fit_atoms),
            }
        )


class FitPost(wiring.Component):
    """The sums of a block become the next pass's inputs, `lanes` outputs per cycle.

    With ``v = (sum >> n) + addend``, n the column's shift:

    - forward: addend = bias (version 1, first layer: and the type's term), v = z;
      ``y = tanh4(z)``, plus the layer's input from the second layer on, is the next input. In the
      last hidden layer y goes to `LastLayer`, whose gradient
      g passes the slope at z at once: the next input is the first backward one.
    - backward: addend = the skip's gradient (none in the first layer), v = g. The next input is
      ``round_21((slope*g) >> short_frac)`` with the slope of the layer below, kept from the
      forward pass. The first layer's v is dE/dD, of `dd_bits`.

    Every value takes `latency` cycles from its block's sums (first group) to `x`, whatever the
    pass, so that passes of several atoms may follow each other. Throughput: a block per
    fit_cols/lanes cycles. 5 multipliers per lane. With `trace`, `fault`
    flips the last bit of z.
    """

    def __init__(self, cfg: AcceleratorConfig, lanes: int) -> None:
        self.cfg = cfg
        self.lanes = lanes
        self.groups = cfg.width // lanes
        self.per_block = cfg.fit_cols // lanes
        if not 1 <= lanes <= cfg.fit_cols:
            raise InputError(f"fitting net: {lanes} lanes, expected 1 to {cfg.fit_cols}")
        if self.per_block > cfg.width // cfg.fit_rows:
            raise InputError(
                f"fitting net: {lanes} lanes do not keep up with {cfg.fit_cols} columns and "
                f"{cfg.fit_rows} rows"
            )
        self.sum_bits = cfg.data_bits + cfg.weight_bits + log2(cfg.width)
        self.tanh_latency = tanh4_latency(cfg)
        word = signed(cfg.data_bits)
        words = data.ArrayLayout(word, lanes)
        super().__init__(
            {
                "load": In(LoadBus()),
                "sums_valid": In(1),
                "sums": In(data.ArrayLayout(signed(self.sum_bits), cfg.fit_cols)),
                "job": In(JobLayout(cfg)),
                "block": In(span(cfg.width // cfg.fit_cols)),
                "x_valid": Out(1),
                "x_bank": Out(1),
                "x_place": Out(span(cfg.fit_atoms)),
                "x": Out(words),
                "dd_valid": Out(1),
                "dd": Out(data.ArrayLayout(signed(cfg.dd_bits), lanes)),
                "group": Out(span(self.groups)),
                "energy_valid": Out(1),
                "energy": Out(signed(cfg.energy_bits)),
                "energy_type": Out(cfg.type_bits),
                "z_valid": Out(1),
                "z_layer": Out(span(cfg.hidden)),
                "z_place": Out(span(cfg.fit_atoms)),
                "z_group": Out(span(self.groups)),
                "z": Out(words),
                "overflow": Out(1),
                **({"fault": In(1)} if cfg.trace else {}),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the sums to the first group of `x`."""
        return post_latency(self.cfg)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cfg, lanes = self.cfg, self.lanes
        top = cfg.hidden - 1
        slope_at = _SUM_STAGE + self.tanh_latency  # the stage of y and the slope
        end = slope_at + cfg.mult_latency + 1

        held = Signal(self.sums.shape(), reset_less=True)
        job = Signal(JobLayout(cfg), reset_less=True)
        block = Signal.like(self.block, reset_less=True)
        active = Signal()
        count = Signal(span(self.per_block))
        with m.If(self.sums_valid):
            m.d.sync += [held.eq(self.sums), job.eq(self.job), block.eq(self.block),
                         active.eq(1), count.eq(0)]
        with m.Else():
            m.d.sync += held.as_value().eq(held.as_value() >> (lanes * self.sum_bits))
            with m.If(count == self.per_block - 1):
                m.d.sync += active.eq(0)
            with m.Else():
                m.d.sync += count.eq(count + 1)
        group = Signal(span(self.groups))
        m.d.comb += group.eq(Cat(count[:log2(self.per_block)], block))

        # job, group and valid of every stage
        valid, jobs, groups = [Value.cast(active)], [job], [Value.cast(group)]
        for k in range(1, end + 1):
            v = Signal(name=f"valid{k}")
            j = Signal(JobLayout(cfg), name=f"job{k}", reset_less=True)
            g = Signal.like(group, name=f"group{k}", reset_less=True)
            m.d.sync += [v.eq(valid[-1]), j.eq(jobs[-1]), g.eq(groups[-1])]
            valid.append(v)
            jobs.append(j)
            groups.append(g)

        shift_mem, bias_mem, skip_mem, slope_mem, answers = self._memories(m)
        type_mem, of_types = self._type_terms(m)
        if type_mem is not None:
            m.d.comb += type_mem.r_index.eq(Cat(group[:log2(self.groups)], job.ctype))
        m.submodules.last = last = LastLayer(cfg, lanes)
        share(m, self.load, last.load, answers=[*answers, *of_types])

        m.d.comb += [
            shift_mem.r_index.eq(Cat(group[:log2(self.groups)], job.matrix)),
            bias_mem.r_index.eq(
                Cat(group[:log2(self.groups)], Mux(job.backward, 0, job.matrix))),
            skip_mem.r_index.eq(self._of_place(group, job)),
        ]
        ask = slope_at - last.grad_latency
        below = slope_at - 1
        m.d.comb += [
            last.grad_type.eq(jobs[ask].ctype),
            last.grad_group.eq(groups[ask]),
            slope_mem.r_index.eq(self._of_layer(groups[below], jobs[below],
                                                jobs[below].layer - 1)),
            last.x_valid.eq(valid[slope_at + 1] & ~jobs[slope_at + 1].backward
                            & (jobs[slope_at + 1].layer == top)),
            last.x_first.eq(groups[slope_at + 1] == 0),
            last.x_last.eq(groups[slope_at + 1] == self.groups - 1),
            last.x_type.eq(jobs[slope_at + 1].ctype),
            last.x_group.eq(groups[slope_at + 1]),
            slope_mem.w_en.eq(valid[slope_at] & ~jobs[slope_at].backward
                              & (jobs[slope_at].layer != top)),
            slope_mem.w_index.eq(self._of_layer(groups[slope_at], jobs[slope_at],
                                                jobs[slope_at].layer)),
        ]

        at_sum, at_slope, at_end = jobs[_SUM_STAGE], jobs[slope_at], jobs[end]
        forward_end = ~at_end.backward & (at_end.layer != top)
        bad_sum, bad_dd, bad_y, bad_gradient = [], [], [], []
        for i in range(lanes):
            raw = Signal(signed(self.sum_bits), name=f"raw{i}", reset_less=True)
            m.d.sync += raw.eq(held[i])
            skip = Signal(signed(cfg.data_bits), name=f"skip{i}")
            addend = Signal(signed(cfg.data_bits), name=f"addend{i}")
            m.d.comb += [
                skip.eq(Mux(jobs[1].layer != 0, skip_mem.r_data[i], 0)),
                addend.eq(Mux(jobs[1].backward, skip, bias_mem.r_data[i])),
            ]
            shifted = shift_right(m, raw, shift_mem.r_data[i])
            total = Signal(signed(self.sum_bits + 1), name=f"total{i}", reset_less=True)
            added = delayed(m, addend, SHIFT_LATENCY)
            if type_mem is not None:
                of_type = Signal(signed(cfg.data_bits), name=f"of_type{i}")
                m.d.comb += of_type.eq(
                    Mux(jobs[1].backward | (jobs[1].layer != 0), 0, type_mem.r_data[i]))
                both = Signal(signed(cfg.data_bits + 1), name=f"both{i}", reset_less=True)
                m.d.sync += both.eq(addend + of_type)
                added = delayed(m, both, SHIFT_LATENCY - 1)
            m.d.sync += total.eq(shifted + added)
            bad_sum.append(leaves(total, cfg.data_bits))
            bad_dd.append(leaves(total, cfg.dd_bits))
            flip = self.fault & self.z_valid if cfg.trace else 0
            v = Signal(signed(cfg.data_bits), name=f"v{i}")
            m.d.comb += v.eq(total[:cfg.data_bits] ^ flip)
            m.d.comb += self.z[i].eq(v)

            m.submodules[f"tanh{i}"] = tanh = Tanh4(cfg)
            m.d.comb += [tanh.z.eq(v), slope_mem.w_data[i].eq(tanh.slope)]
            y = Signal(signed(cfg.data_bits + 1), name=f"y{i}", reset_less=True)
            m.d.sync += y.eq(tanh.y + delayed(m, skip, slope_at - 1))
            bad_y.append(leaves(y, cfg.data_bits))
            m.d.comb += last.x[i].eq(y)

            m.submodules[f"mult{i}"] = mult = Multiplier(
                cfg.data_bits, cfg.short_frac + 2, cfg.mult_latency, cfg.family)
            v_slope = delayed(m, v, self.tanh_latency)
            m.d.comb += [
                mult.a.eq(Mux(at_slope.backward, v_slope, last.grad[i])),
                mult.b.eq(Mux(at_slope.backward, slope_mem.r_data[i], tanh.slope)),
            ]
            drop = gradient_drop(cfg.fix_frac)
            through = Signal(signed(cfg.data_bits), name=f"through{i}")
            gradient = Signal(signed(cfg.data_bits + 1), name=f"gradient{i}", reset_less=True)
            # the slope is at most 1: what passes it is no larger than before
            m.d.comb += through.eq(mult.p >> cfg.short_frac)
            m.d.sync += gradient.eq(round_shift(through, drop) << drop)
            bad_gradient.append(leaves(gradient, cfg.data_bits))

            y_end = delayed(m, y, cfg.mult_latency)
            # what the multiplier took is the gradient the next skip adds
            g_end = delayed(m, mult.a, cfg.mult_latency + 1)
            m.d.comb += [
                self.x[i].eq(Mux(forward_end, y_end, gradient)),
                skip_mem.w_data[i].eq(Mux(forward_end, y_end, g_end)),
                # dE/dD passes the same stages; the bits that no multiplier takes go beside it
                self.dd[i].eq(Cat(g_end, delayed(m, total[cfg.data_bits:cfg.dd_bits],
                                                 end - _SUM_STAGE))),
            ]

        final = at_end.backward & (at_end.layer == 0)
        m.d.comb += [
            self.x_valid.eq(valid[end] & ~final),
            self.x_bank.eq(at_end.bank),
            self.x_place.eq(at_end.place),
            self.dd_valid.eq(valid[end] & final),
            self.group.eq(groups[end]),
            skip_mem.w_en.eq(self.x_valid),
            skip_mem.w_index.eq(self._of_place(self.group, at_end)),
            self.energy_valid.eq(last.energy_valid),
            self.energy.eq(last.energy),
            self.energy_type.eq(last.energy_type),
            self.z_valid.eq(valid[_SUM_STAGE] & ~at_sum.backward),
            self.z_layer.eq(at_sum.layer),
            self.z_place.eq(at_sum.place),
            self.z_group.eq(groups[_SUM_STAGE]),
        ]
        after = jobs[slope_at + 1]
        m.d.sync += self.overflow.eq(
            (valid[_SUM_STAGE]
             & Mux(at_sum.backward & (at_sum.layer == 0), Cat(bad_dd).any(), Cat(bad_sum).any()))
            | (valid[slope_at + 1] & ~after.backward & Cat(bad_y).any())
            | (valid[slope_at] & ~at_slope.backward & (at_slope.layer == top)
               & last.grad_overflow)
            | (self.x_valid & ~forward_end & Cat(bad_gradient).any())
            | last.overflow
        )
        return m

    def _of_place(self, group: Value, job: data.View) -> Value:
        """Index of a group in a memory of one layer per atom."""
        return Cat(group[:log2(self.groups)], job.place[:log2(self.cfg.fit_atoms)])

    def _of_layer(self, group: Value, job: data.View, layer: Value) -> Value:
        """Index of a group in the memory of slopes."""
        return Cat(group[:log2(self.groups)], layer[:self._layer_bits],
                   job.place[:log2(self.cfg.fit_atoms)])

    @property
    def _layer_bits(self) -> int:
        """Bits of a layer whose slopes are kept: all but the last."""
        return (max(1, self.cfg.hidden - 1) - 1).bit_length()

    def _type_terms(self, m: Module) -> tuple[LaneMemory | None, list[Value]]:
        """Version 1: what each centre type adds in the first layer, and what is read back."""
        cfg = self.cfg
        if cfg.version == 0:
            return None, []
        m.submodules.type_terms = terms = LaneMemory(
            cfg.ntypes * cfg.width, signed(cfg.data_bits), write_lanes=LANES,
            read_lanes=self.lanes)
        return terms, [connect_load(m, self.load, Section.TYPE_TERM, terms)]

    def _memories(self, m: Module) -> tuple[LaneMemory, LaneMemory, LaneMemory, LaneMemory,
                                            list[Value]]:
        """Column shifts, biases, skip values (in place), slopes of all but the last layer.

        And what is read back of the first two.
        """
        cfg, lanes = self.cfg, self.lanes
        columns = cfg.nets * cfg.hidden * cfg.width
        word = signed(cfg.data_bits)
        m.submodules.shifts = shifts = LaneMemory(
            2 * columns, SHIFT_BITS, write_lanes=LANES, read_lanes=lanes)
        m.submodules.biases = biases = LaneMemory(
            columns, word, write_lanes=LANES, read_lanes=lanes)
        m.submodules.skips = skips = LaneMemory(
            cfg.fit_atoms * cfg.width, word, write_lanes=lanes, read_lanes=lanes)
        m.submodules.slopes = slopes = LaneMemory(
            cfg.fit_atoms * cfg.width << self._layer_bits, cfg.short_frac + 1,
            write_lanes=lanes, read_lanes=lanes)
        answers = [
            # with weights kept once the array has a copy of the exponents
            connect_load(m, self.load, Section.FIT_COLUMN, shifts, minus_from=cfg.weight_frac,
                         second=False if cfg.weights_once else None),
            connect_load(m, self.load, Section.FIT_BIAS, biases),
        ]
        return shifts, biases, skips, slopes, answers
