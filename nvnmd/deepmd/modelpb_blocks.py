"""The blocks of `model.pb`: fitting weights, tables, settings and type arrays as rows of bits.

Each block has a function that packs it and one that takes it apart again. Shapes are those of the
NVNMD computer: 32 features, 4 axis neurons, fitting nets 128-128-128-128-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nvnmd.deepmd.modelpb_bits import Bits, cut_rows, fit, from_bits, to_bits
from nvnmd.quantize.formats import decode_flt, encode_flt
from nvnmd.quantize.table_layout import TableLayout
from nvnmd.quantize.table_lookup import evaluate, locate

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

M1, M2, WIDTH, HIDDEN = 32, 4, 128, 3
ROW, FLT_BITS, FIX_BITS = 72, 29, 32
WEIGHT_BITS, EXPONENT_BITS, BIAS_BITS = 18, 3, 29
WEIGHT_FRAC, FIX_FRAC = 16, 23
INDEX_BITS, SEL_BITS, SHIFT_BITS = 9, 9, 8
LEAST_CFG_ROWS = 128
TABLE_ROWS = 512
STEP_BITS = 8
DEVICE_UNITS = {"vu9p": 64, "vu13p": 32}
"""SUB_VERSION 2: units that share the fitting net's columns (NSTDM), by device."""
Kind = Literal["full", "short", "mixed"]
FILE_NNEI = 256
"""Neighbour capacity that every file of SUB_VERSION 2 names."""
MOST_SLOTS = (1 << SEL_BITS) - 1
"""Slots of a type; those of all types together may be more than the neighbours of `max_nnei`."""


@dataclass(frozen=True)
class Geometry:
    """Sizes that follow from NVNMD version and neighbour capacity.

    Attributes
    ----------
    version : int
        0 or 1.
    max_nnei : int
        128 or 256.
    sub_version : int
        1 or 2.
    device : str
        SUB_VERSION 2: one of `DEVICE_UNITS`.
    kind : {"full", "short", "mixed"}
        SUB_VERSION 2: see `nvnmd.deepmd.modelpb_head`.
    last_exponents : int or None
        SUB_VERSION 2: how often `bps` holds the last layer's exponent; as often as a unit has
        columns, but once in files of the first programs.
    """

    version: int
    max_nnei: int
    sub_version: int = 1
    device: str = "vu9p"
    kind: Kind = "full"
    last_exponents: int | None = None

    @property
    def units(self) -> int:
        """Units that share the fitting net's columns (NSTDM)."""
        return self.max_nnei // 2 if self.sub_version == 1 else DEVICE_UNITS[self.device]

    @property
    def radial(self) -> int:
        """Functions of u in the tables: s and h, in SUB_VERSION 2 also k."""
        return 3 if self._whole else 2

    @property
    def _whole(self) -> bool:
        return self.sub_version == 2 and self.kind == "full"

    @property
    def statistics(self) -> int:
        """Words per type in `std`."""
        return 4 if self._whole else 2

    def exponents(self, backward: bool) -> int:
        """How often the last layer's exponent stands in a unit's string."""
        if self.sub_version == 1 or not backward:
            return 1
        return self.columns if self.last_exponents is None else self.last_exponents

    def steps(self, sel: int) -> int:
        """SUB_VERSION 2: NSTEP, which grows with the slots beyond 128."""
        return (sel - 128) * self.units // 128

    @property
    def types(self) -> int:
        """Types that the blocks have room for."""
        return 32 if self.version else 4

    @property
    def nets(self) -> int:
        """Fitting nets that the blocks have room for."""
        return 1 if self.version else 4

    @property
    def columns(self) -> int:
        """Columns (rows) of a layer that a unit holds."""
        return WIDTH // self.units

    @property
    def unit_bits(self) -> int:
        """Bits of a unit's string."""
        hidden = self.columns * (WIDTH * WEIGHT_BITS + EXPONENT_BITS + BIAS_BITS)
        return HIDDEN * hidden + self.columns * WEIGHT_BITS + EXPONENT_BITS + BIAS_BITS

    @property
    def cfg_bits(self) -> int:
        """Bits of the settings."""
        if self.sub_version == 2:
            return INDEX_BITS + SHIFT_BITS + STEP_BITS
        if self.version:
            return SHIFT_BITS
        return INDEX_BITS + self.types * SEL_BITS + self.types**2 * M1 * FIX_BITS + SHIFT_BITS

    @property
    def blocks(self) -> dict[str, tuple[int, int]]:
        """Rows and bits per row of each block, in the order of the file."""
        cfg = max(-(-self.cfg_bits // ROW), LEAST_CFG_ROWS)
        fit = self.nets * self.units * -(-self.unit_bits // ROW)
        net = {"cfg": (cfg, ROW), "fps": (fit, ROW), "bps": (fit, ROW)}
        if self.version:
            one = FLT_BITS
            small, large = TABLE_ROWS * self.radial * 4, TABLE_ROWS * M1 * 4
            std = self.types * self.statistics
            return net | {
                "swt": (small, one), "dsw": (small, one), "std": (std, one),
                "fea": (large, one), "gra": (large, one),
                "gtt": (self.types**2 * M1, one), "avc": (self.types * WIDTH, one),
            }  # fmt: skip
        # two outputs a row for s and h, four for G; (a, b) and (c, d) in a half of the rows each
        small = self.types * TABLE_ROWS * 2
        large = self.types * TABLE_ROWS * M1 // 4 * 2
        s_row, g_row = 2 * 2 * FLT_BITS, 4 * 2 * FLT_BITS
        return net | {
            "swt": (small, s_row), "dsw": (small, s_row),
            "fea": (large, g_row), "gra": (large, g_row),
        }  # fmt: skip


def quantize(w: Floats, axis: int) -> tuple[Integers, Integers]:
    """Mantissas of 16 fraction bits and the exponents shared along `axis` (never negative)."""
    largest = np.abs(w).max(axis=axis, keepdims=True)
    exponent = np.where(largest > 0, np.frexp(largest)[1] - 1, 0)
    exponent = fit(
        np.maximum(exponent, 0), EXPONENT_BITS, signed=False, what="exponent of a fitting weight"
    )
    mantissa = np.sign(w) * np.floor(np.ldexp(np.abs(w), WEIGHT_FRAC - exponent))
    return mantissa.astype(np.int64), np.squeeze(exponent, axis)


def pack_fitting(
    weights: list[Floats], biases: list[Floats], geometry: Geometry, *, backward: bool
) -> Bits:
    """Rows of one fitting net in the block `fps`, or `bps` with `backward`.

    Parameters
    ----------
    weights, biases : per layer (nin, nout) and (nout,)
        The last layer's bias is part of the head's energy shifts; zero is written here.
    """
    units = geometry.units
    parts = []
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        mantissa, exponent = quantize(w, 1 if backward else 0)
        vectors = mantissa if backward else mantissa.T
        bias = fit(np.ldexp(b, FIX_FRAC), BIAS_BITS, what="bias of the fitting net")
        parts += [
            to_bits(vectors.reshape(units, -1), WEIGHT_BITS),
            to_bits(exponent.reshape(units, -1), EXPONENT_BITS),
            to_bits(bias.reshape(units, -1), BIAS_BITS),
        ]
    mantissa, exponent = quantize(weights[-1], 0)
    parts += [
        to_bits(mantissa.reshape(units, -1), WEIGHT_BITS),
        np.tile(to_bits(exponent, EXPONENT_BITS), (units, geometry.exponents(backward))),
        np.zeros((units, BIAS_BITS), dtype=np.uint8),
    ]
    return cut_rows(np.concatenate(parts, axis=1), ROW)


def unpack_fitting(
    rows: Bits, geometry: Geometry, *, backward: bool
) -> tuple[list[Floats], list[Floats]]:
    """Weights and biases of the rows of one fitting net, the reverse of `pack_fitting`."""
    units, columns = geometry.units, geometry.columns
    strings = rows.reshape(units, -1)
    position = 0

    def take(count: int, width: int, signed: bool) -> Integers:
        nonlocal position
        piece = strings[:, position : position + count * width]
        position += count * width
        return from_bits(piece, width, signed=signed)

    weights, biases = [], []
    for _ in range(HIDDEN):
        mantissa = take(columns * WIDTH, WEIGHT_BITS, True).reshape(WIDTH, WIDTH)
        exponent = take(columns, EXPONENT_BITS, False).reshape(WIDTH, 1)
        vectors = np.ldexp(mantissa.astype(np.float64), exponent - WEIGHT_FRAC)
        weights.append(np.ascontiguousarray(vectors if backward else vectors.T))
        bias = take(columns, BIAS_BITS, True).reshape(WIDTH)
        biases.append(np.ldexp(bias.astype(np.float64), -FIX_FRAC))
    mantissa = take(columns, WEIGHT_BITS, True).reshape(WIDTH, 1)
    exponent = take(1, EXPONENT_BITS, False)[:1]
    weights.append(np.ldexp(mantissa.astype(np.float64), exponent - WEIGHT_FRAC))
    biases.append(np.zeros(1))
    return weights, biases


def pack_table(table: Floats, geometry: Geometry, what: str) -> Bits:
    """Rows of a table's coefficients (ntab, 512, outputs, 4), a to d."""
    words = encode_flt(table, what=what)
    if geometry.version:
        pairs = np.stack([words[0, :, :, :2], words[0, :, :, 2:]], axis=1)
        return to_bits(pairs.reshape(-1, 1), FLT_BITS)
    whole = np.zeros((geometry.types, *words.shape[1:]), dtype=np.int64)
    whole[: len(words)] = words
    outputs = 2 if words.shape[2] == 2 else 4
    halves = [part.reshape(-1, outputs * 2) for part in (whole[..., :2], whole[..., 2:])]
    return to_bits(np.concatenate(halves), FLT_BITS)


def unpack_table(rows: Bits, outputs: int, tables: int, geometry: Geometry) -> Floats:
    """Coefficients (tables, 512, outputs, 4) of a table's rows, the reverse of `pack_table`."""
    words = from_bits(rows, FLT_BITS)
    if geometry.version:
        pairs = words.reshape(TABLE_ROWS, 2, outputs, 2)
        table = np.concatenate([pairs[:, 0], pairs[:, 1]], axis=-1)[None]
    else:
        halves = words.reshape(2, geometry.types, TABLE_ROWS, outputs, 2)
        table = np.concatenate([halves[0], halves[1]], axis=-1)[:tables]
    return decode_flt(table)


def empty_slots(
    table_u: Floats, u_layout: TableLayout, table_g: Floats, s_layout: TableLayout
) -> Floats:
    """``s(0)*G(s(0))``, a product of flt factors, by centre and neighbour type: (n, n, M1)."""
    row, offset = locate(np.zeros(1), u_layout)
    s = np.concatenate([evaluate(table[:, :1], row, offset)[:, 0] for table in table_u])
    row, offset = locate(s, s_layout)
    g = np.stack([evaluate(table, row, offset) for table in table_g], axis=1)
    return np.asarray(s[:, None, None] * g)


def pack_cfg(
    geometry: Geometry, *, index: int, sel: tuple[int, ...], empty: Floats | None, nix_shift: int
) -> Bits:
    """Rows of the settings; all but `nix_shift` are version 0's, `index` is SUB_VERSION 2's, too.

    Parameters
    ----------
    index : int
        Row of the G tables at s = 0.
    sel : tuple of int
        Slots per type.
    empty : (ntypes, ntypes, M1)
        What an empty slot adds to the first row of GR, by centre and neighbour type.
    nix_shift : int
        log2 of NIX.
    """
    shift = to_bits([-nix_shift], SHIFT_BITS)
    parts = [shift]
    if geometry.sub_version == 2:
        steps = fit([geometry.steps(sum(sel))], STEP_BITS, signed=False, what="NSTEP")
        parts = [
            to_bits(fit([index], INDEX_BITS, signed=False, what="least s"), INDEX_BITS),
            shift, to_bits(steps, STEP_BITS),
        ]  # fmt: skip
    if geometry.version == 0 and empty is not None:
        types = geometry.types
        slots = np.zeros(types, dtype=np.int64)
        slots[: len(sel)] = sel
        whole = np.zeros((types, types, M1))
        whole[: len(empty), : len(empty)] = empty
        fixed = fit(np.ldexp(whole, FIX_FRAC), FIX_BITS, what="contribution of an empty slot")
        parts = [
            to_bits(fit([index], INDEX_BITS, signed=False, what="least s"), INDEX_BITS),
            to_bits(fit(slots, SEL_BITS, signed=False, what="sel"), SEL_BITS),
            to_bits(fixed.reshape(-1), FIX_BITS), shift,
        ]  # fmt: skip
    rows = cut_rows(np.concatenate(parts)[None], ROW)
    return np.pad(rows, ((0, max(LEAST_CFG_ROWS - len(rows), 0)), (0, 0)))


def pack_type_arrays(
    geometry: Geometry, statistics: Floats, type_gain: Floats, type_terms: Floats
) -> dict[str, Bits]:
    """Rows of the blocks `std`, `gtt` and `avc`, which only version 1 has.

    Parameters
    ----------
    statistics : (ntypes, n)
        Inverse deviations; SUB_VERSION 2: minus the mean, inverse deviations, 0.
    type_gain : (ntypes, ntypes, M1)
    type_terms : (ntypes, 128)
        What the centre's type adds in the first fitting layer, not rounded.
    """
    types, n = geometry.types, len(statistics)
    std = np.zeros((types, geometry.statistics), dtype=np.int64)
    std[:n] = encode_flt(statistics, what="mean or inverse deviation")
    gain = np.zeros((types, types, M1), dtype=np.int64)
    gain[:n, :n] = encode_flt(type_gain, what="type gain")
    terms = np.zeros((types, WIDTH), dtype=np.int64)
    terms[:n] = fit(np.ldexp(type_terms, FIX_FRAC), BIAS_BITS, what="type term of the fitting net")
    split = np.concatenate([gain[..., 0::2], gain[..., 1::2]], axis=-1)
    return {
        name: to_bits(words.reshape(-1, 1), FLT_BITS)
        for name, words in (("std", std), ("gtt", split), ("avc", terms))
    }


def unpack_type_arrays(
    blocks: dict[str, Bits], ntypes: int, geometry: Geometry
) -> tuple[Floats, Floats, Floats]:
    """Statistics, type gains and type terms, the reverse of `pack_type_arrays`."""
    types = geometry.types
    std = decode_flt(from_bits(blocks["std"], FLT_BITS)).reshape(types, geometry.statistics)
    split = decode_flt(from_bits(blocks["gtt"], FLT_BITS)).reshape(types, types, 2, M1 // 2)
    gain = np.swapaxes(split, 2, 3).reshape(types, types, M1)
    fixed = from_bits(blocks["avc"], BIAS_BITS, signed=True).reshape(types, WIDTH)
    terms = np.ldexp(fixed.astype(np.float64), -FIX_FRAC)
    return std[:ntypes], gain[:ntypes, :ntypes], terms[:ntypes]
