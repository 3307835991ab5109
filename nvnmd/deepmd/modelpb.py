"""`model.pb`, the binary that the NVNMD computer and `pair_style nvnmd` load.

It is no TensorFlow graph: a head of 128 words of 32 bits, then blocks of fixed sizes. It stores the
fitting weights with 16 fraction bits, so a model read from it is not the one that it was made of,
and it holds no float network.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.atomic_file import atomic_write
from nvnmd.deepmd.modelpb_bits import Bits, fit, from_bits, pack_rows, row_bytes, unpack_rows
from nvnmd.deepmd.modelpb_blocks import (
    FILE_NNEI,
    FIX_FRAC,
    HIDDEN,
    INDEX_BITS,
    M1,
    M2,
    TABLE_ROWS,
    WIDTH,
    Geometry,
    empty_slots,
    pack_cfg,
    pack_fitting,
    pack_table,
    pack_type_arrays,
    unpack_fitting,
    unpack_table,
    unpack_type_arrays,
)
from nvnmd.deepmd.modelpb_head import CAPACITIES, HEAD_WORDS, OPENING_BYTES, read_head
from nvnmd.errors import InputError, ModelFileError, RangeError, one_line
from nvnmd.quantize.model import Model
from nvnmd.quantize.table_layout import (
    COARSE_STEP,
    OCTAVE,
    OCTAVE8,
    SWITCHED_STEP,
    s_layout,
    u_layout,
)
from nvnmd.quantize.widths import VENDOR_WIDTHS
from nvnmd.regular_file import open_regular

WORD_BITS = 32
# Energy shifts are divided by a power of two so that 8 integer bits hold them.
SHIFT_INTEGER_BITS = WORD_BITS - 1 - FIX_FRAC
FORMAT_NAME = "model.pb"
_TABLES = {"swt": "table_u", "dsw": "table_u_grad", "fea": "table_g", "gra": "table_g_grad"}
# Slots that SUB_VERSION 2 has units for
STEPPED_SLOTS = (128, 160, 192, 224, 256)


def geometry_of(model: Model) -> Geometry:
    """The layout of a model's file."""
    if model.sub_version == 1:
        return Geometry(model.version, model.max_nnei)
    once = model.origin.get("last_exponents")
    return Geometry(model.version, FILE_NNEI, 2, str(model.origin.get("device", "vu9p")),
                    last_exponents=None if once is None else int(once))


def block_sizes(model: Model) -> dict[str, tuple[int, int]]:
    """Rows and hexadecimal digits per row of each block of a model's `model.pb`."""
    blocks = geometry_of(model).blocks
    return {name: (rows, -(-width // 4)) for name, (rows, width) in blocks.items()}


def check_shape(model: Model) -> None:
    """Raise InputError where a model has not what the NVNMD computer is built for."""
    check_sizes(model)
    _check_tables(model)


def check_sizes(model: Model) -> None:
    """Raise InputError where a model has not the sizes that the NVNMD computer is built for."""
    shapes = [w.shape[1:] for w in model.fit_weights]
    hidden = [(M1 * M2, WIDTH)] + [(WIDTH, WIDTH)] * (HIDDEN - 1)
    if shapes != [*hidden, (WIDTH, 1)] or (model.m1, model.m2) != (M1, M2):
        raise InputError(
            f"model.pb holds models of {M1} features, {M2} axis neurons and {HIDDEN} hidden layers "
            f"of {WIDTH}, this one has {model.m1}, {model.m2} and fitting layers {shapes}"
        )
    if model.widths != VENDOR_WIDTHS:
        said = ", ".join(f"{name} {bits}" for name, bits in model.widths.to_dict().items())
        raise InputError(f"model.pb holds words of the vendor's widths, this model has {said}")
    geometry = geometry_of(model)
    if model.max_nnei not in CAPACITIES or model.ntypes > geometry.types:
        raise InputError(
            f"model.pb of version {model.version} holds up to {geometry.types} types and 128 or "
            f"256 neighbours, this model has {model.ntypes} and {model.max_nnei}"
        )
    if model.sub_version == 2 and model.nnei not in STEPPED_SLOTS:
        raise InputError(
            f"model.pb of SUB_VERSION 2 holds {', '.join(map(str, STEPPED_SLOTS))} slots, this "
            f"model has {model.nnei}"
        )


def _check_tables(model: Model) -> None:
    if model.tables in (OCTAVE, OCTAVE8):
        raise InputError(
            f"model.pb holds the vendor's tables, this model's are of the layout {model.tables}: "
            "no machine of the vendor's computes them; expected a model of nvnmd/tables = vendor"
        )
    usual = [s_layout(model.s_layout.x0, step) for step in (COARSE_STEP, SWITCHED_STEP)]
    if model.u_layout != u_layout() or model.s_layout not in usual:
        raise InputError("model.pb holds tables of the usual rows, this model's are laid otherwise")


def encode_model(model: Model) -> bytes:
    """Return the content of `model.pb` for a model.

    Weights are cut to 16 fraction bits, toward zero.

    Raises
    ------
    InputError
        The model has not the sizes of the NVNMD computer.
    RangeError
        A number does not fit its word.
    """
    check_shape(model)
    geometry = geometry_of(model)
    rows: dict[str, Bits] = {}
    empty = None
    if model.version == 0:
        empty = empty_slots(model.table_u, model.u_layout, model.table_g, model.s_layout)
    x0, step = model.s_layout.x0, model.s_layout.segments[0].step
    rows["cfg"] = pack_cfg(
        geometry, index=round(-x0 / step), sel=model.sel, empty=empty, nix_shift=model.nix_shift
    )
    zero = [w[0] * 0.0 for w in model.fit_weights], [b[0] * 0.0 for b in model.fit_biases]
    for name in ("fps", "bps"):
        nets = []
        for t in range(geometry.nets):
            weights, biases = zero
            if t < len(model.fit_weights[0]):
                weights = [w[t] for w in model.fit_weights]
                biases = [b[t] for b in model.fit_biases]
            nets.append(pack_fitting(weights, biases, geometry, backward=name == "bps"))
        rows[name] = np.concatenate(nets)
    for name, attribute in _TABLES.items():
        rows[name] = pack_table(getattr(model, attribute), geometry, attribute)
    if model.version:
        assert model.inv_std is not None and model.type_gain is not None
        assert model.t_ebd is not None and model.tweight is not None
        statistics = model.inv_std
        if model.minus_avg is not None:
            nothing = np.zeros(model.ntypes)
            statistics = np.column_stack([model.minus_avg, model.inv_std, nothing])
        rows |= pack_type_arrays(
            geometry, statistics, model.type_gain, np.matmul(model.t_ebd, model.tweight)
        )
    parts = [_head(model)]
    parts += [pack_rows(rows[name]) for name in geometry.blocks]
    return b"".join(parts)


def energy_shifts(model: Model) -> tuple[NDArray[np.int64], int]:
    """Words of the energies that each type adds, and the power of two they are divided by."""
    nets = model.fit_biases[-1][:, 0]
    shift = model.t_bias_atom_e + nets
    largest = float(np.abs(shift).max())
    exponent = max(math.ceil(math.log2(largest)) - SHIFT_INTEGER_BITS, 0) if largest else 0
    # A shift just above a power of two is stored as that power, which alone would give one less.
    exponent = max(exponent, int(model.origin.get("shift_exponent", 0)))
    return fit(np.ldexp(shift, FIX_FRAC - exponent), WORD_BITS, what="atomic energy"), exponent


def _head(model: Model) -> bytes:
    sizes = block_sizes(model)
    shifts, exponent = energy_shifts(model)
    radius = fit([model.rcut * 2.0**FIX_FRAC], WORD_BITS, signed=False, what="rcut")
    words = [
        model.version + (model.sub_version << 8) + (geometry_of(model).max_nnei << 16),
        HEAD_WORDS,
        *(height for height, _ in sizes.values()),
        *(width for _, width in sizes.values()),
        int(radius[0]),
        model.ntypes,
        *model.sel,
        *(int(shift) for shift in shifts),
        exponent,
    ]
    head = np.zeros(HEAD_WORDS, dtype="<i8")
    head[: len(words)] = words
    return (head & 0xFFFFFFFF).astype("<u4").tobytes()


def write_modelpb(path: str | Path, model: Model) -> None:
    """Write `model.pb`, all or nothing; see `encode_model`."""
    data = encode_model(model)
    with atomic_write(path) as file:
        file.write(data)


def read_modelpb(path: str | Path, type_map: Sequence[str] | None = None) -> Model:
    """Read `model.pb`; see `decode_model`. Its size is compared with its head before it is read."""
    path = Path(path)
    try:
        with open_regular(path) as file:
            opening = file.read(OPENING_BYTES)
            wanted = read_head(opening, path, whole=True).size
            size = os.fstat(file.fileno()).st_size
            if size != wanted:
                raise ModelFileError(f"{path}: {size} bytes, its head asks for {wanted}")
            data = opening + file.read(wanted - len(opening))
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({one_line(error)})") from None
    return decode_model(data, path, type_map)


def decode_model(
    data: bytes, source: str | Path = FORMAT_NAME, type_map: Sequence[str] | None = None
) -> Model:
    """Take the content of `model.pb`.

    The model has no float network, mean or deviation (`embedding`, `davg`, `dstd` are empty), no
    start of smoothing (`rcut_smth` is 0), and weights of 16 fraction bits: `origin` says so.
    Encoding it again gives the same bytes.

    Parameters
    ----------
    data : bytes
        The whole file.
    source : path-like
        What to call it in messages.
    type_map : sequence of str, optional
        Element names, which the file does not hold; `T0`, `T1` ... by default.

    Raises
    ------
    ModelFileError
        The file is of another kind, holds too little to compute with (see
        `nvnmd.deepmd.modelpb_head`), is cut short, or contradicts itself.
    InputError
        `type_map` has another number of types.
    """
    head = read_head(data[:OPENING_BYTES], source, whole=True)
    if len(data) != head.size:
        raise ModelFileError(f"{source}: {len(data)} bytes, its head asks for {head.size}")
    geometry, ntypes = head.geometry, head.ntypes
    rows = block_rows(data, geometry)
    if type_map is None:
        type_map = [f"T{t}" for t in range(ntypes)]
    if len(type_map) != ntypes:
        raise InputError(f"{source}: holds {ntypes} types, the type map names {len(type_map)}")
    nets = 1 if geometry.version else ntypes
    weights, biases = _fitting(rows, nets, geometry)
    indexed = geometry.version == 0 or geometry.sub_version == 2
    index = _index(rows["cfg"]) if indexed else 0
    tables: dict[str, Any] = {
        attribute: unpack_table(
            rows[name], geometry.radial if attribute.startswith("table_u") else M1, nets, geometry)
        for name, attribute in _TABLES.items()
    }
    usual = SWITCHED_STEP if geometry.sub_version == 2 else COARSE_STEP
    origin: dict[str, Any] = {} if geometry.sub_version == 1 else {"device": geometry.device}
    model = Model(
        version=geometry.version,
        sub_version=geometry.sub_version,
        type_map=tuple(type_map),
        sel=head.sel,
        max_nnei=geometry.max_nnei,
        rcut=head.rcut,
        rcut_smth=0.0,
        u_layout=u_layout(),
        s_layout=s_layout(-index / 256 + 0.0, coarse_step(tables["table_g"], usual)),
        **tables,
        fit_weights=weights,
        fit_biases=biases,
        t_bias_atom_e=np.ldexp(head.shifts.astype(np.float64), head.exponent - FIX_FRAC),
        davg=np.zeros((0, 2)),
        dstd=np.zeros((0, 2)),
        embedding=(),
        axis_neuron=M2,
        **(_type_fields(rows, ntypes, geometry) if geometry.version else {}),
        origin={
            "format": FORMAT_NAME,
            "weight_fraction_bits": 16,
            "shift_exponent": head.exponent,
            **origin,
        },
    )
    again = _encode_or_refuse(model, source)
    if again != data and geometry.sub_version == 2:
        # the first programs wrote one exponent where the later ones write several
        older = replace(model, origin={**model.origin, "last_exponents": 1})
        if _encode_or_refuse(older, source) == data:
            return older
    _check_same(again, data, geometry, source)
    return model


def coarse_step(table: NDArray[np.float64], usual: float) -> float:
    """Step of the coarse rows of G tables (tables, 512, M1, 4), by their continuity.

    At its end a row must give what the next one starts with. Files of version 0 hold either step,
    and nothing in their head says which.

    Parameters
    ----------
    table : ndarray
        Coefficients a, b, c, d.
    usual : float
        The step where the rows do not tell, as those of a constant.
    """
    rows = table[:, TABLE_ROWS // 2 :]
    a, b, c, d = np.moveaxis(rows[:, :-1], -1, 0)
    jumps = {
        step: float(np.abs(((a * step + b) * step + c) * step + d - rows[:, 1:, :, 3]).max())
        for step in (COARSE_STEP, SWITCHED_STEP)
    }
    best = min(jumps, key=jumps.__getitem__)
    return best if jumps[best] < 0.1 * jumps[usual] else usual


def _encode_or_refuse(model: Model, source: str | Path) -> bytes:
    """Encode a model that was decoded; what cannot be encoded was no usable file."""
    try:
        return encode_model(model)
    except RangeError as error:
        raise ModelFileError(f"{source}: {error}") from None


def block_rows(data: bytes, geometry: Geometry) -> dict[str, Bits]:
    """The rows of each block of a whole file."""
    view, position, rows = memoryview(data), HEAD_WORDS * 4, {}
    for name, (height, width) in geometry.blocks.items():
        end = position + height * row_bytes(width)
        rows[name] = unpack_rows(view[position:end], width)
        position = end
    return rows


def _index(cfg: Bits) -> int:
    """Row of the G tables at s = 0, the first field of the settings."""
    return int(from_bits(cfg[0, :INDEX_BITS], INDEX_BITS)[0])


def _fitting(
    rows: dict[str, Bits], nets: int, geometry: Geometry
) -> tuple[tuple[NDArray[np.float64], ...], tuple[NDArray[np.float64], ...]]:
    """Weights (nets, nin, nout) and biases per layer.

    Forward and backward blocks hold the same matrix, each cut below its own exponents: of every
    weight the one that lost less, the larger one, is taken.
    """
    height = len(rows["fps"]) // geometry.nets
    layers: list[tuple[list, list]] = [([], []) for _ in range(HIDDEN + 1)]
    for t in range(nets):
        part = slice(t * height, (t + 1) * height)
        forward, biases = unpack_fitting(rows["fps"][part], geometry, backward=False)
        backward, _ = unpack_fitting(rows["bps"][part], geometry, backward=True)
        for layer, (one, two) in enumerate(zip(forward, backward, strict=True)):
            layers[layer][0].append(np.where(np.abs(one) >= np.abs(two), one, two))
            layers[layer][1].append(biases[layer])
    return tuple(np.stack(w) for w, _ in layers), tuple(np.stack(b) for _, b in layers)


def _type_fields(rows: dict[str, Bits], ntypes: int, geometry: Geometry) -> dict:
    """Fields of version 1; with unit vectors for the types, `tweight` is the stored product."""
    statistics, type_gain, terms = unpack_type_arrays(rows, ntypes, geometry)
    only = {}
    if geometry.sub_version == 2:
        only, statistics = {"minus_avg": statistics[:, 0]}, statistics[:, 1:3]
    return only | {
        "inv_std": statistics, "type_gain": type_gain, "t_ebd": np.eye(ntypes), "tweight": terms
    }  # fmt: skip


def _check_same(again: bytes, data: bytes, geometry: Geometry, source: str | Path) -> None:
    """Nothing may be lost: the decoded model must give the bytes that it came from."""
    if again == data:
        return
    ours, theirs = np.frombuffer(again, np.uint8), np.frombuffer(data, np.uint8)
    first = int(np.argmax(ours != theirs))
    position, place = HEAD_WORDS * 4, f"head, word {first // 4}"
    for name, (height, width) in geometry.blocks.items():
        size = height * row_bytes(width)
        if position <= first < position + size:
            place = f"block {name}, row {(first - position) // row_bytes(width)}"
        position += size
    raise ModelFileError(f"{source}: {place} contradicts the rest of the file, not a usable model")
