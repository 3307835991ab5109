"""The integer network at speed: the words of `nvnmd.quantize.reference`, without its trace.

All stages are compiled loops (numba, the extra `fast`): those of neighbours over filled slots, the
fitting net as a matrix product of aligned whole numbers over some atoms of one type, which binary64
does exactly. Empty slots all give the same product and enter as that times their number. The
reference stays the definition: tests compare every word, and atoms whose values come near the end
of a format are handed to it, so that what leaves a format is an error here as it is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nvnmd.quantize.fitting import matmul_fitnet, quantize_weight
from nvnmd.quantize.forces import Forces, assemble_forces
from nvnmd.quantize.model import Model
from nvnmd.quantize.normalize import Mode, chosen_mode, normalize, statistics
from nvnmd.quantize.ops import mul, pow2, product_to_fix, round_bits
from nvnmd.quantize.reference import evaluate_atoms
from nvnmd.quantize.table_layout import TableLayout
from nvnmd.quantize.table_lookup import evaluate, locate
from nvnmd.quantize.widths import VENDOR_WIDTHS, Widths
from nvnmd.threads import installed, share_out

Floats = NDArray[np.float64]
Words = NDArray[np.float32]

CHUNK = 32
"""Atoms that one thread takes through all stages at a time: what is kept of them fits its cache. A
multiple of four."""

_LOG = logging.getLogger(__name__)


@cache
def available() -> bool:
    """Whether numba is installed; says so once where it is not."""
    found = installed()
    if not found:
        _LOG.warning("numba is not installed: the fixed backend runs the slow reference, "
                     "with the same results; pip install 'nvnmd[fast]'")
    return found


def supported(model: Model) -> bool:
    """Whether the fast path computes this model: columns of the descriptor must not repeat."""
    return model.m2 <= model.m1


@dataclass(frozen=True, eq=False)
class _Net:
    """One type's fitting net, quantized: see `compiled.fitting.fit` for the arrays.

    Mantissas have 21 bits, which binary32 holds. In version 1 the type's vector is in the bias of
    the first layer: both lie on one grid.
    """

    ahead: Words
    scale: Floats
    bias: Floats
    back: Words
    back_scale: Floats
    last: Floats
    last_scale: float
    last_bias: float
    seed: Floats


class FastModel:
    """A model's constants in the form that the compiled loops want; keep it between frames.

    Parameters
    ----------
    model : Model
        A model that is `supported`.
    mode : {"graph", "machine"}, optional
        See `nvnmd.quantize.normalize`; by default the graph's words, where the model has them.
    """

    def __init__(self, model: Model, mode: Mode | None = None) -> None:
        if not supported(model):
            raise ValueError("more axis neurons than features")
        self.model, self.mode = model, chosen_mode(model, mode)
        self.table_u = _coefficients_first(model.table_u, model.table_u_grad)
        self.table_g = _coefficients_first(model.table_g, model.table_g_grad)
        self.u_bounds, self.s_bounds = _bounds(model.u_layout), _bounds(model.s_layout)
        # G and its slopes, with a switched type term also G before it
        self.g_columns = (3 if model.sub_version == 2 else 2) * model.m1
        self.starts = np.concatenate([[0], np.cumsum(model.sel)]).astype(np.int64)
        self.kind, self.numbers = statistics(model, self.mode)
        gain = model.type_gain
        self.gain = np.empty((model.ntypes, 0, model.m1)) if gain is None else gain
        self.empty, self.empty_bound = _empty_slots(model, self.kind, self.numbers)
        hidden = model.fit_weights[:-1]
        self.widths = np.array([hidden[0].shape[1], *(w.shape[2] for w in hidden)], dtype=np.int64)
        self.skips = self.widths[:-1] == self.widths[1:]
        self.skips[0] = False
        self.nets = [_quantized_net(model, t, int(self.widths.max())) for t in range(model.ntypes)]

    def evaluate(
        self,
        center_types: NDArray[np.integer],
        rij: Floats,
        mask: NDArray[np.bool_],
        neighbor_types: NDArray[np.integer] | None = None,
    ) -> tuple[Floats, Floats]:
        """Atomic energies and pair derivatives.

        Parameters
        ----------
        center_types : (n,)
            Types of the centre atoms.
        rij : (n, m, 3)
            Displacements to the neighbours in Å; in version 0 blocks of `sel` slots in type order.
        mask : (n, m)
            Which slots hold a neighbour.
        neighbor_types : (n, m)
            Type of each slot's neighbour, needed in version 1.

        Returns
        -------
        atom_energy : (n,)
            In eV.
        deriv : (n, m, 4)
            dE/d[u,x,y,z], flt values; 0 in empty slots, where the reference has numbers that
            nothing uses.

        Raises
        ------
        RangeError
            If a value leaves the format the hardware gives it.
        """
        from nvnmd.quantize.compiled.fitting import fit
        from nvnmd.quantize.compiled.kernels import NEAR_ROWS, backward, forward
        from nvnmd.quantize.compiled.words import cuts

        model = self.model
        n, m = mask.shape
        center_types = np.asarray(center_types)
        rij = np.ascontiguousarray(rij, dtype=np.float64)
        mask = np.ascontiguousarray(mask)
        if neighbor_types is None:
            if model.version != 0:
                raise ValueError("a model of version 1 needs the neighbours' types")
            neighbor_types = np.zeros((n, 1), dtype=np.int64)
        kinds = np.ascontiguousarray(neighbor_types, dtype=np.int64)
        energy, deriv = np.zeros(n), np.zeros((n, m, 4))
        suspect = np.zeros(n, dtype=np.bool_)
        kept = int(mask.sum(axis=1).max(initial=0))
        m1, scale, room = model.m1, 2.0**-model.nix_shift, int(self.widths.max())
        widths = cuts(model.widths)

        def make_worker() -> Callable[[tuple[int, NDArray[np.int64]]], None]:
            slot_of = np.empty((CHUNK, kept), dtype=np.int64)
            near, g = np.empty((CHUNK, NEAR_ROWS, kept)), np.empty((CHUNK, kept, self.g_columns))
            tops, gr = np.empty((CHUNK, 2, kept), dtype=np.int64), np.empty((CHUNK, 4, m1))
            z = np.empty((len(self.skips), CHUNK, room))
            d, x, total, gradient = np.zeros((4, CHUNK, room))

            def compute(task: tuple[int, NDArray[np.int64]]) -> None:
                t, atoms = task
                net = self.nets[t]
                forward(
                    atoms, kinds, rij, mask, self.starts,
                    t % len(model.table_u) * model.u_layout.rows, self.u_bounds, self.s_bounds,
                    self.table_u, self.table_g, self.kind, self.numbers[t], self.gain[t],
                    self.empty[t], self.empty_bound[t], scale, model.s_layout.rows, model.m2,
                    model.round_descriptor, slot_of, near, g, tops, gr, d, suspect,
                    widths)
                fit(atoms, d, self.widths, self.skips, net.ahead, net.scale, net.bias, net.back,
                    net.back_scale, net.last, net.last_scale, net.last_bias, net.seed, z, x,
                    total, gradient, energy, suspect, widths)
                backward(atoms, kinds, self.starts, mask, self.kind, self.numbers[t], self.gain[t],
                         scale, model.m2, slot_of, near, g, tops, gr, d, deriv, suspect, widths)

            return compute

        share_out(chunks(center_types, model.ntypes), make_worker)
        energy += model.t_bias_atom_e[center_types]
        left = np.flatnonzero(suspect)
        if left.size:
            trace = evaluate_atoms(model, center_types[left], rij[left], mask[left],
                                   None if model.version == 0 else kinds[left], self.mode)
            energy[left] = trace.atom_energy
            deriv[left] = np.where(mask[left][..., None], trace.deriv, 0.0)
        return energy, deriv


def fast_forces(deriv: Floats, rij: Floats, index: NDArray[np.integer],
                ghosts: int = 0, widths: Widths = VENDOR_WIDTHS) -> Forces:
    """`assemble_forces`, compiled; the same bits."""
    from nvnmd.quantize.compiled.kernels import scatter
    from nvnmd.quantize.compiled.words import cuts

    n = len(index) + ghosts
    force, virial, atom_virial = np.zeros((n, 3)), np.zeros((3, 3)), np.zeros((n, 3, 3))
    scatter(deriv, rij, index, force, virial, atom_virial, cuts(widths))
    return Forces(force, virial, atom_virial)


class PairList(Protocol):
    """What a neighbour list must offer; `nvnmd.neighbors.slots.Neighborhood` has it."""

    @property
    def center_types(self) -> NDArray[np.int64]: ...
    @property
    def rij(self) -> Floats: ...
    @property
    def index(self) -> NDArray[np.int32]: ...
    @property
    def mask(self) -> NDArray[np.bool_]: ...
    @property
    def neighbor_types(self) -> NDArray[np.int64]: ...
    @property
    def ghosts(self) -> int: ...


def evaluator(
    model: Model, mode: Mode | None = None
) -> Callable[[PairList], tuple[Floats, Forces]]:
    """A function of a neighbour list that gives atomic energies and `Forces`.

    It is the compiled one where numba is installed and the model is `supported`, else the
    reference; both give the same bits. `mode` is that of `nvnmd.quantize.normalize`.
    """
    if supported(model) and available():
        fast = FastModel(model, mode)

        def compiled(near: PairList) -> tuple[Floats, Forces]:
            energy, deriv = fast.evaluate(near.center_types, near.rij, near.mask,
                                          near.neighbor_types)
            return energy, fast_forces(deriv, near.rij, near.index, near.ghosts, model.widths)

        return compiled

    def reference(near: PairList) -> tuple[Floats, Forces]:
        trace = evaluate_atoms(model, near.center_types, near.rij, near.mask, near.neighbor_types,
                               mode)
        return trace.atom_energy, assemble_forces(trace.deriv, near.rij, near.index,
                                                   near.ghosts, model.widths.flt_frac)

    return reference


def _coefficients_first(values: Floats, slopes: Floats | None) -> Words:
    """(types, rows, outputs, 4) as (types*rows, 4, outputs), outputs of the slopes behind.

    binary32 holds every flt value: 20 fraction bits, exponents down to -127, where it has 22.
    """
    table = values if slopes is None else np.concatenate([values, slopes], axis=2)
    first = np.swapaxes(table.reshape(-1, *table.shape[2:]), 1, 2)
    return np.ascontiguousarray(first, dtype=np.float32)


def _bounds(layout: TableLayout) -> tuple[NDArray | bool, ...]:
    """Start, end, step, rows and first row of each segment; whether its end is the next one's."""
    some = layout.segments
    return (
        np.array([layout.x0 + s.start for s in some]),
        np.array([layout.x0 + (s.start + s.length) for s in some]),
        np.array([s.step for s in some], dtype=np.float64),
        np.array([s.rows for s in some], dtype=np.int64),
        np.array([s.first_row for s in some], dtype=np.int64),
        layout.half_open,
    )


def _empty_slots(model: Model, kind: int, numbers: Floats) -> tuple[Floats, Floats]:
    """An empty slot's products with s by centre type and block, (ntypes, blocks, M1), and the
    largest magnitude of each, unscaled."""
    frac = model.widths.flt_frac
    row, offset = locate(np.zeros(1), model.u_layout)
    s = np.array([evaluate(table, row, offset, frac)[0, 0] for table in model.table_u])
    s, _ = normalize(kind, numbers, s, s, frac)
    row, offset = locate(s, model.s_layout, model.widths.offset_frac)
    g = np.stack([evaluate(table, row, offset, frac) for table in model.table_g], axis=1)
    if model.type_gain is not None and model.sub_version == 1:
        # as the reference has it: type 0, and a product of zero where s(0) is
        g = mul(g, model.type_gain[:, :1], frac)
    products = product_to_fix(s[:, None, None], g, frac, model.widths.fix_frac)
    return products, np.abs(s)[:, None] * np.abs(g).max(axis=2)


def _quantized_net(model: Model, t: int, room: int) -> _Net:
    which = t % len(model.fit_weights[0])
    weights = [w[which] for w in model.fit_weights]
    frac = model.widths.weight_frac
    biases = [round_bits(b[which], model.widths.fix_frac) for b in model.fit_biases]
    if model.version != 0:
        biases[0] = biases[0] + model.type_terms[t]
    layers = len(weights) - 1
    ahead = np.zeros((layers, room, room), dtype=np.float32)
    scale, bias = np.zeros((2, layers, room))
    back, back_scale = np.zeros_like(ahead), np.zeros_like(scale)
    for layer, (w, b) in enumerate(zip(weights[:-1], biases, strict=False)):
        nin, nout = w.shape
        mantissa, e = quantize_weight(w, frac=frac)
        ahead[layer, :nin, :nout] = mantissa
        scale[layer, :nout] = pow2(e - frac)[0]
        bias[layer, :nout] = b
        mantissa, e = quantize_weight(np.swapaxes(w, 0, 1), frac=frac)
        back[layer, :nout, :nin] = mantissa
        back_scale[layer, :nin] = pow2(e - frac)[0]
    mantissa, e = quantize_weight(weights[-1], whole=True, frac=frac)
    seed = matmul_fitnet(np.ones((1, 1)), np.swapaxes(weights[-1], 0, 1), whole=True,
                         widths=model.widths)
    return _Net(ahead, scale, bias, back, back_scale, np.ascontiguousarray(mantissa[:, 0]),
                float(pow2(e - frac)[0, 0]), float(biases[-1][0]), seed[0])


def chunks(
    center_types: NDArray[np.integer], ntypes: int
) -> list[tuple[int, NDArray[np.int64]]]:
    """(type, at most `CHUNK` atoms of it) for all atoms."""
    tasks = []
    for t in range(ntypes):
        everyone = np.flatnonzero(center_types == t)
        pieces = -(-len(everyone) // CHUNK)
        tasks += [(t, piece) for piece in np.array_split(everyone, pieces)] if pieces else []
    return tasks
