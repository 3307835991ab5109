"""The contents of a frozen model: its numbers, its tables, and the sizes that follow from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.quantize.ops import round_bits
from nvnmd.quantize.seen import Seen
from nvnmd.quantize.table_layout import TableLayout, layout_name
from nvnmd.quantize.widths import VENDOR_WIDTHS, Widths

Floats = NDArray[np.float64]
Net = tuple[tuple[Floats, Floats], ...]
# Arrays that only version 1 has
TYPE_ARRAYS = ("inv_std", "type_gain", "t_ebd", "tweight")


@dataclass(frozen=True, kw_only=True)
class ModelData:
    """A quantized Deep Potential of NVNMD version 0 or 1, and the float model it came from.

    ``ntab`` is the number of parameter sets: one per type in version 0, one in version 1, where
    the type enters by `inv_std`, `type_gain` and `tweight`.

    Attributes
    ----------
    version : int
        NVNMD version.
    type_map : tuple of str
        Element names.
    sel : tuple of int
        Neighbour slots per neighbour type; in version 1 one number for all types together.
    max_nnei : int
        Neighbour capacity of the hardware the model was trained for.
    rcut, rcut_smth : float
        Cut-off radius and start of smoothing, in Å.
    axis_neuron : int
        M2.
    u_layout, s_layout : TableLayout
        Where the rows of the u and G tables lie.
    table_u, table_u_grad : (ntab, rows, 2, 4)
        Coefficients a, b, c, d of s and h (and their derivatives by u) per centre type, flt values;
        in version 1 without mean and deviation; SUB_VERSION 2: of s, h and k.
    table_g, table_g_grad : (ntab, rows, M1, 4)
        Coefficients of G (and dG/ds) per neighbour type, flt values; in version 1 before the type
        gain. Both tables of derivatives are None where a derivative is that of the stored cubic.
    round_descriptor : bool
        Whether the descriptor is rounded to its grid (halves away from zero), not floored.
    fit_weights, fit_biases : tuples of (ntab, nin, nout) and (ntab, nout)
        The fitting nets, per centre type, unrounded binary64.
    t_bias_atom_e : (ntypes,)
        Atomic energy bias in eV.
    davg, dstd : (ntypes, 2)
        Mean and deviation of the radial and the angular part of the environment matrix.
    embedding : tuple over neighbour types of tuples over layers of (W, b)
        The embedding nets, which only the float model uses; one in version 1.
    inv_std : (ntypes, 2)
        Version 1: inverse deviations of s and h by centre type, flt values.
    type_gain : (ntypes, ntypes, M1)
        Version 1: what G is multiplied by, by centre and neighbour type, flt values.
    t_ebd : (ntypes, 8)
        Version 1: the types' vectors.
    tweight : (8, width)
        Version 1: weights of the centre's type vector in the first fitting layer.
    type_embedding, type_net : tuples over layers of (W, b)
        Version 1: the nets behind `t_ebd` and `type_gain`, which only the float model uses.
    sub_version : int
        SUB_VERSION of version 1, 1 or 2. With 2 the table of u has a third output, k, G is
        ``G + G*k*type_gain``, and s has a mean.
    minus_avg : (ntypes,)
        SUB_VERSION 2: minus the mean of s by centre type, flt values.
    widths : Widths
        Of the number formats; the vendor's, or narrower.
    seen : Seen or None
        What the training saw; None where it is not known, as of models of other programs.
    origin : mapping
        Where the model comes from, in JSON's types. A model that was read from a `model.pb` has no
        float network: `embedding`, `davg` and `dstd` are empty there, and `rcut_smth` is 0.
    extras : mapping of names to arrays
        Numbers that only files for DeePMD-kit hold (see `nvnmd.deepmd.extras`): the float stage's
        fitting nets, table coefficients as binary64.
    """

    version: int
    type_map: tuple[str, ...]
    sel: tuple[int, ...]
    max_nnei: int
    rcut: float
    rcut_smth: float
    u_layout: TableLayout
    s_layout: TableLayout
    table_u: Floats
    table_u_grad: Floats | None
    table_g: Floats
    table_g_grad: Floats | None
    fit_weights: tuple[Floats, ...]
    fit_biases: tuple[Floats, ...]
    t_bias_atom_e: Floats
    davg: Floats
    dstd: Floats
    embedding: tuple[tuple[tuple[Floats, Floats], ...], ...]
    axis_neuron: int = 4
    round_descriptor: bool = False
    inv_std: Floats | None = None
    type_gain: Floats | None = None
    t_ebd: Floats | None = None
    tweight: Floats | None = None
    type_embedding: Net = ()
    type_net: Net = ()
    sub_version: int = 1
    minus_avg: Floats | None = None
    widths: Widths = VENDOR_WIDTHS
    seen: Seen | None = field(default=None, compare=False, repr=False)
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False)
    extras: Mapping[str, NDArray] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        missing = [name for name in TYPE_ARRAYS if getattr(self, name) is None]
        if self.version == 1 and missing:
            raise ValueError(f"a model of version 1 needs {', '.join(missing)}")
        if self.version == 0 and len(missing) != len(TYPE_ARRAYS):
            raise ValueError("a model of version 0 has no type arrays")
        if (self.table_u_grad is None) != (self.table_g_grad is None):
            raise ValueError("one of two tables of derivatives is missing")
        if self.sub_version not in (1, 2) or (self.sub_version == 2 and self.version != 1):
            raise ValueError(f"NVNMD version {self.version}, SUB_VERSION {self.sub_version}")
        if (self.minus_avg is not None) != (self.sub_version == 2):
            raise ValueError("minus_avg belongs to SUB_VERSION 2, and to it alone")

    @property
    def ntypes(self) -> int:
        """Number of atom types."""
        return len(self.type_map)

    @property
    def m1(self) -> int:
        """Width of the embedding."""
        return int(self.table_g.shape[2])

    @property
    def m2(self) -> int:
        """Axis neurons."""
        return self.axis_neuron

    @property
    def width(self) -> int:
        """Width of the hidden layers of the fitting net."""
        return int(self.fit_weights[0].shape[2])

    @property
    def hidden(self) -> int:
        """Number of hidden layers of the fitting net."""
        return len(self.fit_weights) - 1

    @property
    def nnei(self) -> int:
        """Neighbour slots of an atom."""
        return sum(self.sel)

    @property
    def radial(self) -> int:
        """Functions of u: s and h, in SUB_VERSION 2 also k."""
        return int(self.table_u.shape[2])

    @property
    def own_slopes(self) -> bool:
        """Whether derivatives are those of the stored cubics, not of tables of their own."""
        return self.table_u_grad is None

    @property
    def tables(self) -> str:
        """Name of the tables' layout (`nvnmd.quantize.table_layout.LAYOUTS`), or "other"."""
        return layout_name(self.u_layout, self.s_layout, self.own_slopes) or "other"

    @property
    def shared_types(self) -> int | None:
        """Number of types that share the neighbour slots (version 1); None in version 0."""
        return self.ntypes if self.version else None

    @property
    def nix_shift(self) -> int:
        """log2 of NIX, the power of two that GR is divided by."""
        return math.ceil(math.log2(self.nnei / 1.5))

    @property
    def nix(self) -> int:
        """``2^ceil(log2(nnei/1.5))``."""
        return 1 << self.nix_shift

    @property
    def type_terms(self) -> Floats:
        """Version 1: what the centre's type adds in the first fitting layer, (ntypes, width).

        ``round_23(t_ebd @ tweight)``, the product in binary64 of unquantized factors; in place of
        23 the fraction bits of `widths`.
        """
        if self.t_ebd is None or self.tweight is None:
            raise ValueError("only a model of version 1 has type terms")
        return np.asarray(round_bits(np.matmul(self.t_ebd, self.tweight), self.widths.fix_frac))
