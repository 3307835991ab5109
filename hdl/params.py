"""The parameters of one accelerator, chosen once; every derived width is a property.

Nothing here depends on a trained model: one configuration is one bitstream, and serves every
model that fits its sizes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from nvnmd.errors import InputError

FAMILIES = ("ECP5", "7-series", "UltraScale+")
"""FPGA families that products are split for, see `nvnmd.hdl.arith.split`."""


def ceil_div(a: int, b: int) -> int:
    """Smallest integer not below a/b."""
    return -(-a // b)


def _power_of_two(n: int) -> bool:
    return n > 0 and n & (n - 1) == 0


@dataclass(frozen=True, kw_only=True)
class AcceleratorConfig:
    """Sizes, formats and folds of the accelerator.

    Attributes
    ----------
    version : int
        NVNMD version. 0: one embedding table set and one fitting net per type. 1: one of each for
        all types, which enter by inverse deviations, gains of G and a term of the fitting net.
    sub_version : int
        SUB_VERSION of version 1. 2: s has a mean, the gains fade with the third function of u, and
        an empty slot counts.
    ntypes : int
        Types the memories are sized for, a power of two (1, 2 or 4 in version 0, up to 32 in
        version 1); a loaded model may use fewer.
    max_nnei : int
        Largest number of neighbours of one atom (128 or 256 on the vendor's machine).
    m1, m2 : int
        Embedding width and axis neurons; the descriptor has m1*m2 words.
    width, hidden : int
        Width and number of the hidden layers of the fitting net; width = m1*m2.
    frac, exp_bits : int
        Fraction and exponent bits of a flt word at the ports.
    exp_int : int
        Exponent bits inside the pipelines, wider so that no intermediate underflows.
    exp_floor : int
        Where the search for a largest exponent starts.
    fix_frac : int
        Fraction bits of fix, fit data and the GR accumulators.
    acc_bits : int
        Width of a GR accumulator.
    data_bits, weight_bits, weight_frac, short_frac : int
        Fitting net: activation width, weight mantissa width and its fraction bits below the shared
        exponent, and the coarser operand of tanh4.
    dd_bits : int
        Width of a word of dE/dD (fix_frac fraction bits): it enters no multiplier as it is, so it
        may be wider than `data_bits`, and has to be for water (docs/arithmetic.md).
    energy_bits : int
        Width of the atomic energy word (fix_frac fraction bits).
    offset_frac : int
        Fraction bits kept in the mantissa of a table row's offset.
    fold : int
        Cycles per neighbour in the neighbour stages, a power of two up to m1.
    fit_cols, fit_rows : int
        The fitting net's multipliers: fit_cols outputs by fit_rows inputs per cycle.
    fit_atoms : int
        Atoms whose passes take turns in the fitting net, so that one fills the other's gaps.
    weights_once : bool
        Keep a weight of the fitting net once for both directions, which takes less memory and more
        logic; only with one row.
    store_neighbors : int
        Capacity of the neighbour store between the forward and backward stages.
    atoms : int
        Atoms whose GR columns are held: being summed, waiting for the fitting net, in it.
    gradients : int
        Atoms whose dE/dD is held behind the fitting net.
    u_segments, s_segments : tuple of (int, int)
        Table layout: (log2 of the step, rows) of each segment, all from the table's origin.
    octave : bool
        Octave tables (docs/octave_tables.md): segments of u follow one another, derivatives are
        those of the stored cubics, and D is rounded.
    mult_latency : int
        Pipeline stages of a multiplier.
    family : str
        FPGA family whose multiplier blocks products are split for: ECP5, 7-series or UltraScale+.
    trace : bool
        Add taps (and the fault input) at every stage boundary, for verification builds.
    """

    version: int = 0
    ntypes: int = 4
    max_nnei: int = 128
    m1: int = 32
    m2: int = 4
    width: int = 128
    hidden: int = 3
    frac: int = 20
    exp_bits: int = 8
    exp_int: int = 10
    exp_floor: int = -100
    fix_frac: int = 23
    acc_bits: int = 36
    data_bits: int = 27
    weight_bits: int = 21
    weight_frac: int = 19
    short_frac: int = 19
    dd_bits: int = 32
    energy_bits: int = 32
    offset_frac: int = 16
    fold: int = 32
    fit_cols: int = 32
    fit_rows: int = 1
    fit_atoms: int = 1
    store_neighbors: int = 256
    atoms: int = 2
    gradients: int = 1
    u_segments: tuple[tuple[int, int], ...] = ((-3, 512),)
    s_segments: tuple[tuple[int, int], ...] = ((-8, 256), (-4, 256))
    mult_latency: int = 3
    family: str = "ECP5"
    trace: bool = False
    sub_version: int = 1
    octave: bool = False
    weights_once: bool = False

    def __post_init__(self) -> None:
        if self.version not in (0, 1):
            raise InputError(f"accelerator: version is {self.version}, expected 0 or 1")
        if self.family not in FAMILIES:
            raise InputError(f"accelerator: family is {self.family}, expected one of "
                             f"{', '.join(FAMILIES)}")
        limit = 4 if self.version == 0 else 32
        if not 1 <= self.ntypes <= limit:
            raise InputError(f"accelerator: ntypes is {self.ntypes}, expected 1 to {limit}")
        if self.sub_version not in (1, 2) or (self.sub_version == 2 and self.version == 0):
            raise InputError(
                f"accelerator: sub_version is {self.sub_version}, expected 1, or 2 in version 1"
            )
        if self.octave and self.switched:
            raise InputError("accelerator: octave tables, expected the vendor's in SUB_VERSION 2")
        for name in ("ntypes", "max_nnei", "m1", "m2", "width", "fold", "fit_cols", "fit_rows",
                     "fit_atoms", "atoms", "gradients"):
            if not _power_of_two(getattr(self, name)):
                raise InputError(
                    f"accelerator: {name} is {getattr(self, name)}, expected a power of two"
                )
        if self.fold > self.m1:
            raise InputError(f"accelerator: fold is {self.fold}, expected at most m1 = {self.m1}")
        if self.width != self.m1 * self.m2:
            raise InputError(
                f"accelerator: width is {self.width}, expected m1*m2 = {self.m1 * self.m2}"
            )
        if not 4 <= self.fit_cols <= self.width:
            raise InputError(
                f"accelerator: fit_cols is {self.fit_cols}, expected 4 to {self.width}"
            )
        if self.dd_bits < self.data_bits:
            raise InputError(
                f"accelerator: dd_bits is {self.dd_bits}, expected at least data_bits = "
                f"{self.data_bits}"
            )
        if self.fit_rows > self.width:
            raise InputError(
                f"accelerator: fit_rows is {self.fit_rows}, expected at most {self.width}"
            )
        if self.weights_once and self.fit_rows != 1:
            raise InputError(
                f"accelerator: weights_once with fit_rows {self.fit_rows}, expected 1 row"
            )
        if self.store_neighbors < self.max_nnei:
            raise InputError(
                f"accelerator: store_neighbors is {self.store_neighbors}, expected at least "
                f"max_nnei = {self.max_nnei}"
            )

    @property
    def switched(self) -> bool:
        """Whether the gains fade with distance: SUB_VERSION 2."""
        return self.sub_version == 2

    @property
    def radial(self) -> int:
        """Functions of u: s and h, in SUB_VERSION 2 also k."""
        return 3 if self.switched else 2

    @property
    def empty_counts(self) -> bool:
        """Whether an empty neighbour slot adds to the descriptor: not in SUB_VERSION 1 of 1."""
        return self.version == 0 or self.switched

    @property
    def empty_kinds(self) -> int:
        """Kinds of empty slots: pairs of types in version 0, centre types in SUB_VERSION 2."""
        return self.ntypes * self.ntypes if self.version == 0 else self.ntypes

    @property
    def lanes(self) -> int:
        """Embedding channels handled per cycle."""
        return ceil_div(self.m1, self.fold)

    @property
    def flt_bits(self) -> int:
        """Width of a flt word at the ports."""
        return 1 + self.exp_bits + self.frac

    @property
    def exp_bias(self) -> int:
        """Bias of the exponent field of a flt word."""
        return 1 << (self.exp_bits - 1)

    @property
    def man_bits(self) -> int:
        """Mantissa bits with the hidden one."""
        return self.frac + 1

    @property
    def u_rows(self) -> int:
        """Rows of the u table."""
        return sum(rows for _, rows in self.u_segments)

    @property
    def s_rows(self) -> int:
        """Rows of the G table."""
        return sum(rows for _, rows in self.s_segments)

    @property
    def type_bits(self) -> int:
        """Width of a type index."""
        return max(1, (self.ntypes - 1).bit_length())

    @property
    def nets(self) -> int:
        """Sets of tables and fitting nets: one per type in version 0, one in version 1."""
        return self.ntypes if self.version == 0 else 1

    @property
    def count_bits(self) -> int:
        """Width of a neighbour count, 0 to max_nnei."""
        return self.max_nnei.bit_length()

    def to_dict(self) -> dict:
        """The parameters as plain JSON values."""
        return asdict(self)
