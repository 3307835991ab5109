"""The network with any of its stages quantized and the others exact, to tell what each costs.

With every stage quantized it gives the words of the integer reference, with none the float network.
NumPy only, one frame's atoms at a time; a few times slower than the compiled evaluators.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import InputError, ModelFileError
from nvnmd.mapping.build import radial_jet
from nvnmd.mapping.embedding import embedding_jet
from nvnmd.network.math import NumpyMath
from nvnmd.network.nets import describe, describe_gradient, type_switch
from nvnmd.network.nets import tanh4 as exact_tanh4
from nvnmd.network.types import type_terms
from nvnmd.quantize import ops
from nvnmd.quantize.fitting import quantize_weight
from nvnmd.quantize.formats import flush
from nvnmd.quantize.model import Model
from nvnmd.quantize.normalize import (
    QUOTIENT,
    chosen_mode,
    normalize,
    scale_back,
    statistics,
)
from nvnmd.quantize.ops import FIX_FRAC, GRAD_FRAC, floor_bits, pow2, round_bits, trunc_flt
from nvnmd.quantize.table_lookup import evaluate_both, locate
from nvnmd.quantize.type_factor import apply_switched, back_through_switched, switched_gain
from nvnmd.quantize.widths import VENDOR_WIDTHS

Floats = NDArray[np.float64]

STAGES = {
    "positions": "displacements cut to flt, their squares",
    "table u": "s, h and their slopes from tables",
    "table s": "G and its slope from tables",
    "sum": "products and sum over the neighbours",
    "descriptor": "the product GR^T GR and its cut",
    "fitting weights": "weights as words with shared exponents",
    "fitting net": "data words and activation of the fitting net",
    "fitting gradient": "words of the fitting net's reverse pass",
    "descriptor gradient": "dE/dGR from dE/dD",
    "neighbour gradient": "dE/d[u,x,y,z] of every neighbour",
}
"""The stages in the order of the data flow, each with what is quantized in it."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Results for the atoms of one frame.

    Attributes
    ----------
    atom_energy : (n,)
        In eV.
    deriv : (n, m, 4)
        dE/d[u,x,y,z] of every slot.
    pair : (n, m, 3)
        dE/d(displacement) in eV/Å, 0 in empty slots.
    """

    atom_energy: Floats
    deriv: Floats
    pair: Floats


@dataclass(kw_only=True)
class _Pairs:
    """What the reverse pass needs of the neighbours; see `nvnmd.quantize.reference.Trace`."""

    r: Floats
    s: Floats
    h: Floats
    slopes: Floats
    numbers: Floats
    k: Floats | None
    r4: Floats
    g: Floats = field(default_factory=lambda: np.empty(0))
    gs: Floats = field(default_factory=lambda: np.empty(0))
    unscaled: Floats = field(default_factory=lambda: np.empty(0))
    factor: Floats = field(default_factory=lambda: np.empty(0))
    gain: Floats | None = None


class HalfQuantized:
    """A model of which some stages are quantized.

    Parameters
    ----------
    model : Model
        With its float network.
    stages : collection of str
        Which of `STAGES` are quantized.

    Raises
    ------
    ModelFileError
        The model holds no float network.
    InputError
        Its widths are narrower than the vendor's.
    """

    def __init__(self, model: Model, stages: Collection[str]) -> None:
        if not model.embedding:
            raise ModelFileError("the model holds no continuous network, so its stages cannot "
                                 "be exact")
        if model.widths != VENDOR_WIDTHS:
            raise InputError("single stages are quantized in the vendor's widths alone, this model "
                             f"has {model.widths.to_dict()}")
        unknown = set(stages) - set(STAGES)
        if unknown:
            raise ValueError(f"no stages {sorted(unknown)}")
        self.model, self.stages = model, frozenset(stages)
        self._by_type = model.version == 0
        self._kind, self._numbers = self._statistics()
        xp = NumpyMath()
        self._gain = self._terms = None
        if model.tweight is not None:
            exact = type_terms(xp, model.type_embedding, model.type_net, model.tweight,
                               model.sub_version == 2)
            gains = exact.gains.reshape(model.ntypes, model.ntypes, -1)
            self._gain = model.type_gain if "table s" in stages else gains
            self._terms = model.type_terms if "fitting net" in stages else exact.first

    def _statistics(self) -> tuple[int, Floats]:
        """How s and h are normalised, see `nvnmd.quantize.normalize`; exactly by quotients."""
        model = self.model
        if "table u" in self.stages:
            return statistics(model, chosen_mode(model))
        # version 1 has a mean in SUB_VERSION 2 alone
        mean = model.davg[:, 0] * (self._by_type or model.sub_version == 2)
        return QUOTIENT, np.column_stack([model.dstd, mean])

    def evaluate(self, center: NDArray[np.integer], rij: Floats, mask: NDArray[np.bool_],
                 neighbor: NDArray[np.integer]) -> Result:
        """Evaluate atoms; arguments as those of `nvnmd.quantize.reference.evaluate_atoms`."""
        model = self.model
        kinds = np.where(mask, neighbor, 0) if not self._by_type else np.broadcast_to(
            np.repeat(np.arange(model.ntypes), model.sel), mask.shape)
        r, u = self._positions(rij, mask)
        of_pair = self._radial(r, u, mask, center)
        self._embedding(of_pair, center, kinds)
        gr = self._sum(of_pair.r4, of_pair.g)
        energy, dd = self._fit(self._descriptor(gr), center)
        deriv = self._neighbor_gradient(self._descriptor_gradient(dd, gr), of_pair)
        pair = deriv[..., :1] * 2.0 * r + deriv[..., 1:]
        return Result(atom_energy=energy + model.t_bias_atom_e[center], deriv=deriv,
                      pair=np.where(mask[..., None], pair, 0.0))

    def _positions(self, rij: Floats, mask: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        r = np.where(mask[:, :, None], rij, 0.0)
        if "positions" not in self.stages:
            return r, (r * r).sum(axis=-1)
        r = flush(trunc_flt(r)) + 0.0
        return r, ops.dot(r, r)

    def _radial(self, r: Floats, u: Floats, mask: NDArray[np.bool_],
                center: NDArray[np.integer]) -> _Pairs:
        """Functions of the distance, normalised; their slopes by u as they are tabulated."""
        model, numbers = self.model, self._numbers[center][:, None]
        if "table u" in self.stages:
            row, offset = locate(u, model.u_layout)
            row = row + (center[:, None] if self._by_type else 0) * model.u_layout.rows
            values, slopes = evaluate_both(model.table_u, model.table_u_grad, row, offset)
            s, h = normalize(self._kind, numbers, values[..., 0], values[..., 1])
        else:
            jets = list(radial_jet(np.where(mask, u, 1.0), model.rcut, model.rcut_smth, 0.0))
            if model.sub_version == 2:
                jets.append((*type_switch(NumpyMath(), *jets[0][:2], model.rcut_smth), u))
            values, slopes = (np.where(mask[..., None], np.stack([jet[k] for jet in jets], -1), 0.0)
                              for k in (0, 1))
            s = (values[..., 0] - numbers[..., 2]) / numbers[..., 0]
            h = values[..., 1] / numbers[..., 1]
            if self._by_type:
                # here the tables hold what is normalised already
                slopes = slopes / numbers[..., :2]
        product = ops.mul(h[..., None], r) if "sum" in self.stages else h[..., None] * r
        return _Pairs(r=r, s=s, h=h, slopes=slopes, numbers=numbers,
                      k=values[..., 2] if model.sub_version == 2 else None,
                      r4=np.concatenate([s[..., None], product], axis=-1))

    def _embedding(self, of_pair: _Pairs, center: NDArray[np.integer], kinds: NDArray[np.integer]
                   ) -> None:
        """Fill in G and its slope, with the factors of the types of each pair."""
        model, quantized, s = self.model, "table s" in self.stages, of_pair.s
        nets = kinds if self._by_type else np.zeros_like(kinds)
        if quantized:
            row, offset = locate(s, model.s_layout)
            row = row + nets * model.s_layout.rows
            g, of_pair.gs = evaluate_both(model.table_g, model.table_g_grad, row, offset)
        else:
            g, of_pair.gs = np.empty((2, *s.shape, model.m1))
            for t, net in enumerate(model.embedding):
                here = nets == t
                g[here], of_pair.gs[here], _ = embedding_jet(s[here], net)
        of_pair.unscaled = of_pair.g = g
        if self._gain is None:
            return
        gain = of_pair.gain = self._gain[center[:, None], kinds]
        if of_pair.k is None:
            of_pair.g = ops.mul(g, gain) + 0.0 if quantized else g * gain
        elif quantized:
            of_pair.factor = switched_gain(gain, of_pair.k)
            of_pair.g = apply_switched(g, of_pair.factor)
        else:
            of_pair.factor = gain * of_pair.k[..., None]
            of_pair.g = g + g * of_pair.factor

    def _sum(self, r4: Floats, g: Floats) -> Floats:
        """R4^T G / NIX."""
        scale = 2.0**-self.model.nix_shift
        if "sum" not in self.stages:
            return np.swapaxes(r4, 1, 2) @ g * scale
        total = np.zeros((len(r4), 4, self.model.m1))
        start = 0
        for size in self.model.sel:
            block = slice(start, start + size)
            start += size
            products = ops.product_to_fix(r4[:, block, :, None], g[:, block, None, :])
            total += ops.fix_to_flt(products.sum(axis=1))
        return trunc_flt(total * scale) + 0.0

    def _descriptor(self, gr: Floats) -> Floats:
        m1, m2 = self.model.m1, self.model.m2
        if "descriptor" not in self.stages:
            return np.asarray(describe(NumpyMath(), gr, m2))
        grams = ops.matmul_flt(np.swapaxes(gr, 1, 2), gr, norm=0)
        column = (np.arange(m1)[:, None] + np.arange(m2)) % m1
        to_grid = round_bits if self.model.round_descriptor else floor_bits
        d = to_grid(np.take_along_axis(grams, column[None], axis=2), FIX_FRAC)
        return np.asarray(d.reshape(-1, m1 * m2))

    def _fit(self, d: Floats, center: NDArray[np.integer]) -> tuple[Floats, Floats]:
        """Energies without bias, and dE/dD."""
        energy, dd = np.empty(len(d)), np.empty_like(d)
        sets = center if self._by_type else np.zeros_like(center)
        for t in np.unique(sets):
            atoms = np.flatnonzero(sets == t)
            term = None if self._terms is None else self._terms[center[atoms]]
            net = [(w[t], b[t]) for w, b in
                   zip(self.model.fit_weights, self.model.fit_biases, strict=True)]
            energy[atoms], dd[atoms] = self._fit_one(d[atoms], net, term)
        return energy, dd

    def _fit_one(self, d: Floats, net: list[tuple[Floats, Floats]], term: Floats | None
                 ) -> tuple[Floats, Floats]:
        forth, back = "fitting net" in self.stages, "fitting gradient" in self.stages

        def rounded(x: Floats, on: bool) -> Floats:
            return round_bits(x, FIX_FRAC) if on else x

        def product(x: Floats, w: Floats, on: bool, whole: bool = False) -> Floats:
            if "fitting weights" in self.stages:
                mantissa, e = quantize_weight(w, whole=whole)
                w = mantissa * pow2(e - ops.WEIGHT_FRAC)
            total = rounded(x, on) @ w
            return floor_bits(total, FIX_FRAC) if on else total

        x, z_list = d, []
        for layer, (w, b) in enumerate(net[:-1]):
            x = rounded(x, forth)
            z = product(x, w, forth) + rounded(b, forth)
            if layer == 0 and term is not None:
                z = z + term
            z_list.append(z)
            y = ops.tanh4(z) if forth else exact_tanh4(NumpyMath(), z)[0]
            x = x + y if layer and w.shape[0] == w.shape[1] else y
        w, b = net[-1]
        energy = (product(rounded(x, forth), w, forth, whole=True) + rounded(b, forth))[:, 0]
        g = product(np.ones((len(d), 1)), w.T, back, whole=True)
        for layer in reversed(range(len(net) - 1)):
            w, z = net[layer][0], z_list[layer]
            if back:
                g = rounded(g, True)
                through = ops.tanh4_grad(rounded(z, True), g)
                through = round_bits(round_bits(through, FIX_FRAC), GRAD_FRAC)
            else:
                through = g * exact_tanh4(NumpyMath(), z)[1]
            behind = rounded(product(through, w.T, back), back)
            g = behind + g if layer and w.shape[0] == w.shape[1] else behind
        return energy, g

    def _descriptor_gradient(self, dd: Floats, gr: Floats) -> Floats:
        """dE/dGR (n, 4, M1)."""
        m1, m2, scale = self.model.m1, self.model.m2, 2.0**-self.model.nix_shift
        if "descriptor gradient" not in self.stages:
            return np.asarray(describe_gradient(NumpyMath(), gr, dd, m2)) * scale
        column = np.broadcast_to((np.arange(m1)[:, None] + np.arange(m2)) % m1, (len(dd), m1, m2))
        words = trunc_flt(floor_bits(dd, FIX_FRAC)) + 0.0
        scattered = np.zeros((len(dd), m1, m1))
        np.put_along_axis(scattered, column, words.reshape(-1, m1, m2), axis=2)
        direct = ops.matmul_flt2fix(gr, np.swapaxes(scattered, 1, 2))
        transposed = ops.matmul_flt2fix(gr, scattered)
        return trunc_flt(trunc_flt(direct + transposed) * scale) + 0.0

    def _neighbor_gradient(self, dgr: Floats, of_pair: _Pairs) -> Floats:
        """dE/d[u,x,y,z] (n, m, 4)."""
        quantized = "neighbour gradient" in self.stages
        gain, h, r = of_pair.gain, of_pair.h, of_pair.r
        if quantized:
            dr4 = ops.matmul_flt(of_pair.g, np.swapaxes(dgr, 1, 2), norm=1)
            dg = ops.matmul_flt(of_pair.r4, dgr, norm=1)
        else:
            dr4, dg = of_pair.g @ np.swapaxes(dgr, 1, 2), of_pair.r4 @ dgr
        by_table = []
        if gain is not None and of_pair.k is not None:
            if quantized:
                dg, dk = back_through_switched(dg, of_pair.unscaled, gain, of_pair.factor)
            else:
                dk = (of_pair.unscaled * dg * gain).sum(axis=-1)
                dg = dg + dg * of_pair.factor
            by_table = [dk]
        elif gain is not None:
            dg = ops.mul(dg, gain) + 0.0 if quantized else dg * gain
        if quantized:
            ds, dh = ops.add(ops.dot(of_pair.gs, dg), dr4[..., 0]), ops.dot(r, dr4[..., 1:])
        else:
            ds, dh = (of_pair.gs * dg).sum(-1) + dr4[..., 0], (r * dr4[..., 1:]).sum(-1)
        ds, dh = self._scaled_back(ds, dh, of_pair.numbers, quantized)
        together = np.stack([ds, dh, *by_table], axis=-1)
        if not quantized:
            du = (of_pair.slopes * together).sum(axis=-1)
            return np.concatenate([du[..., None], h[..., None] * dr4[..., 1:]], axis=-1)
        du = ops.dot(of_pair.slopes, together)
        dxyz = ops.mul(h[..., None], dr4[..., 1:])
        return flush(np.concatenate([du[..., None], dxyz], axis=-1)) + 0.0

    def _scaled_back(self, ds: Floats, dh: Floats, numbers: Floats, quantized: bool
                     ) -> tuple[Floats, Floats]:
        """Gradients by the tables' s and h from those by the network's."""
        if self._by_type:
            return ds, dh
        if quantized:
            return scale_back(self._kind, numbers, ds, dh)
        if self._kind == QUOTIENT:
            return ds / numbers[..., 0], dh / numbers[..., 1]
        return ds * numbers[..., 0], dh * numbers[..., 1]
