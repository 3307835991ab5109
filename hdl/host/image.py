"""The load image: a model as the beats of the load stream.

An image is one header beat and the sections of `nvnmd.hdl.pipeline.loadbus.Section` in order,
each in its natural order, so that one image serves every fold of one set of sizes (with the weights
of the fitting net kept once, another image than with a copy for each direction). The header's
four lanes are a magic number, the fingerprint of the sizes, the number of payload beats and the
CRC-32 of the payload (the usual one, over the beats as little-endian bytes).
"""

from __future__ import annotations

import json
import zlib

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import InputError, RangeError
from nvnmd.hdl.fitting.weights import fit_image
from nvnmd.hdl.params import AcceleratorConfig, ceil_div
from nvnmd.hdl.pipeline.loadbus import LANES, Section
from nvnmd.quantize.formats import FloatFormat, encode_flt, to_fix
from nvnmd.quantize.model import Model
from nvnmd.quantize.normalize import normalize, statistics
from nvnmd.quantize.ops import product_to_fix
from nvnmd.quantize.table_lookup import evaluate, locate
from nvnmd.quantize.table_start import near_exponent
from nvnmd.quantize.widths import Widths

MAGIC = 0x304D564E  # "NVM0"
NEAR_BIT = 8
"""In the lane of log2(NIX): where the exponent of the status too_near begins."""
Beats = NDArray[np.uint32]

# Parameters that shape the memories; folds and pipeline depths do not.
_SIZES = (
    "version", "ntypes", "max_nnei", "m1", "m2", "width", "hidden", "frac", "exp_bits", "fix_frac",
    "data_bits", "weight_bits", "weight_frac", "u_segments", "s_segments",
)


def fingerprint(cfg: AcceleratorConfig) -> int:
    """32-bit digest of the sizes an image depends on."""
    sizes = {name: getattr(cfg, name) for name in _SIZES}
    if cfg.sub_version != 1:
        # images of SUB_VERSION 1 keep theirs
        sizes["sub_version"] = cfg.sub_version
    if cfg.octave:
        sizes["octave"] = True
    if cfg.weights_once:
        sizes["weights_once"] = True
    return zlib.crc32(json.dumps(sizes, sort_keys=True).encode())


def section_beats(cfg: AcceleratorConfig) -> dict[Section, int]:
    """Number of beats of each section, in the order of the image."""
    nt, width = cfg.nets, cfg.width
    square = nt * cfg.hidden * width * width // LANES
    pairs = cfg.ntypes * cfg.ntypes * cfg.m1 // LANES
    radial = _power_of_two(cfg.radial)
    return {
        Section.PARAMS: 1 + ceil_div(cfg.ntypes, LANES),
        **({Section.EMPTY: cfg.empty_kinds * cfg.m1 // LANES} if cfg.empty_counts else {}),
        Section.U_VALUE: nt * cfg.u_rows * radial,
        **({} if cfg.octave else {Section.U_GRAD: nt * cfg.u_rows * radial}),
        Section.G_VALUE: nt * cfg.s_rows * cfg.m1,
        **({} if cfg.octave else {Section.G_GRAD: nt * cfg.s_rows * cfg.m1}),
        Section.FIT_FORWARD: square,
        **({} if cfg.weights_once else {Section.FIT_BACKWARD: square}),
        Section.FIT_LAST_FORWARD: nt * width // LANES,
        Section.FIT_LAST_BACKWARD: nt * width // LANES,
        Section.FIT_COLUMN: 2 * nt * cfg.hidden * width // LANES,
        Section.FIT_BIAS: nt * cfg.hidden * width // LANES,
        Section.FIT_LAST: nt,
        **({} if cfg.version == 0 else {
            Section.TYPE_GAIN: pairs,
            Section.INV_STD: cfg.ntypes,
            Section.TYPE_TERM: cfg.ntypes * width // LANES,
        }),
    }


def _power_of_two(outputs: int) -> int:
    """Outputs that a row of a table's section holds."""
    return 1 << (outputs - 1).bit_length()


def load_map(cfg: AcceleratorConfig) -> list[tuple[Section, int, int]]:
    """Sections of the load packet with their first beat and their beats; beat 0 is the header."""
    places, start = [], 1
    for section, beats in section_beats(cfg).items():
        places.append((section, start, beats))
        start += beats
    return places


def empty_slot_words(model: Model) -> NDArray[np.int64]:
    """Version 0: what an empty slot adds to row 0 of GR, in units of 2**-fix_frac.

    Returns
    -------
    ndarray of int64, shape (ntypes, ntypes, M1)
        Indexed by centre type and neighbour type.
    """
    nt, widths = model.ntypes, model.widths
    frac = widths.flt_frac
    row, offset = locate(np.zeros(1), model.u_layout)
    s0 = np.array([evaluate(model.table_u[t], row, offset, frac)[0, 0] for t in range(nt)])
    row, offset = locate(s0, model.s_layout, widths.offset_frac)
    g0 = np.stack([evaluate(model.table_g[t], row, offset, frac) for t in range(nt)], axis=1)
    words = product_to_fix(s0[:, None, None], g0, frac, widths.fix_frac)
    return to_fix(words * 2.0**-widths.fix_frac, widths.fix, what="empty slot")


def empty_centre_words(model: Model) -> NDArray[np.int64]:
    """SUB_VERSION 2: what an empty slot adds to row 0 of GR, in units of 2**-fix_frac.

    Returns
    -------
    ndarray of int64, shape (ntypes, M1)
        Indexed by centre type; the neighbour's does not matter.
    """
    kind, numbers = statistics(model, "machine")
    widths = model.widths
    frac = widths.flt_frac
    s0, _ = normalize(kind, numbers, np.zeros(model.ntypes), np.zeros(model.ntypes), frac)
    g0 = evaluate(model.table_g[0], *locate(s0, model.s_layout, widths.offset_frac), frac)
    words = product_to_fix(s0[:, None], g0, frac, widths.fix_frac)
    return to_fix(words * 2.0**-widths.fix_frac, widths.fix, what="empty slot")


def width_fields(widths: Widths) -> dict[str, int]:
    """The fields of `AcceleratorConfig` that a model's widths are."""
    return {"frac": widths.flt_frac, "fix_frac": widths.fix_frac, "data_bits": widths.data_bits,
            "weight_bits": widths.weight_bits, "weight_frac": widths.weight_frac,
            "acc_bits": widths.acc_bits, "short_frac": widths.short_frac,
            "offset_frac": widths.offset_frac}


def check_fits(model: Model, cfg: AcceleratorConfig) -> None:
    """Refuse a model that the accelerator's sizes cannot hold.

    Raises
    ------
    InputError
        Naming the size, the model's value and the accelerator's.
    """
    for name, found, have in (
        ("version", model.version, cfg.version),
        ("sub_version", model.sub_version, cfg.sub_version),
        ("m1", model.m1, cfg.m1),
        ("m2", model.m2, cfg.m2),
        ("fitting width", model.width, cfg.width),
        ("hidden layers", model.hidden, cfg.hidden),
        *((name, bits, getattr(cfg, name)) for name, bits in width_fields(model.widths).items()),
    ):
        if found != have:
            raise InputError(f"model: {name} is {found}, the accelerator is built for {have}")
    if model.ntypes > cfg.ntypes:
        raise InputError(f"model: {model.ntypes} types, the accelerator holds {cfg.ntypes}")
    if model.nnei > cfg.max_nnei:
        raise InputError(
            f"model: sel sums to {model.nnei}, the accelerator holds {cfg.max_nnei} neighbours"
        )
    if model.own_slopes != cfg.octave:
        raise InputError(
            f"model: tables of the layout {model.tables}, the accelerator is built for "
            f"{'octave' if cfg.octave else 'vendor'}"
        )
    for name, layout, segments in (
        ("u", model.u_layout, cfg.u_segments), ("s", model.s_layout, cfg.s_segments)
    ):
        found_segments = tuple((int(np.log2(s.step)), s.rows) for s in layout.segments)
        octaves = layout.half_open and name == "u"
        if not octaves and any(s.start != 0.0 for s in layout.segments):
            raise InputError(
                f"model: tables of the layout {model.tables}, the accelerator has vendor or octave"
            )
        if found_segments != segments or octaves != (cfg.octave and name == "u"):
            raise InputError(
                f"model: {name} table has segments {found_segments}, the accelerator {segments}"
            )


def build_image(model: Model, cfg: AcceleratorConfig) -> Beats:
    """The whole load image of a model.

    Returns
    -------
    ndarray of uint32, shape (1 + payload beats, 4)

    Raises
    ------
    InputError
        If the model does not fit the accelerator.
    RangeError
        If a table coefficient or a weight leaves its format.
    """
    check_fits(model, cfg)
    sections = _sections(model, cfg)
    terms = model.type_terms if model.version else None
    sections.update(fit_image(model.fit_weights, model.fit_biases, cfg, terms))
    payload = []
    for section, count in section_beats(cfg).items():
        beats = np.asarray(sections[section]).astype(np.int64) & 0xFFFFFFFF
        if beats.shape != (count, LANES):
            raise ValueError(f"section {section.name} has shape {beats.shape}, not ({count}, 4)")
        payload.append(beats.astype("<u4"))
    body = np.concatenate(payload)
    header = np.array(
        [[MAGIC, fingerprint(cfg), len(body), zlib.crc32(body.tobytes())]], dtype="<u4"
    )
    return np.concatenate([header, body])


def _sections(model: Model, cfg: AcceleratorConfig) -> dict[Section, NDArray]:
    nt, have, nets = cfg.ntypes, model.ntypes, len(model.table_u)
    fmt = FloatFormat(cfg.exp_bits, cfg.frac)
    x0 = model.s_layout.x0 * 256.0
    if not -2048 <= x0 < 2048 or x0 != int(x0) or model.u_layout.x0 != 0.0:
        raise RangeError(f"G table starts at {model.s_layout.x0}, expected a multiple of 1/256 "
                         "between -8 and 8")
    sel = np.zeros(ceil_div(nt, LANES) * LANES, dtype=np.int64)
    sel[: len(model.sel)] = model.sel
    shifts = model.nix_shift | near_exponent(model) << NEAR_BIT
    params = np.concatenate([[have, shifts, int(x0), model.nnei], sel])
    pairs = np.zeros((nt, nt, cfg.m1), dtype=np.int64)
    sections: dict[Section, NDArray] = {Section.PARAMS: params.reshape(-1, LANES)}
    if model.inv_std is None or model.type_gain is None:
        pairs[:have, :have] = empty_slot_words(model)
        sections[Section.EMPTY] = pairs.reshape(-1, LANES)
    else:
        pairs[:have, :have] = encode_flt(model.type_gain, fmt, what="type gain")
        sections[Section.TYPE_GAIN] = pairs.reshape(-1, LANES)
        inverse = np.zeros((nt, LANES), dtype=np.int64)
        inverse[:have, :2] = encode_flt(model.inv_std, fmt, what="inverse deviation")
        if model.minus_avg is not None:
            inverse[:have, 2] = encode_flt(model.minus_avg, fmt, what="mean")
            empty = np.zeros((nt, cfg.m1), dtype=np.int64)
            empty[:have] = empty_centre_words(model)
            sections[Section.EMPTY] = empty.reshape(-1, LANES)
        sections[Section.INV_STD] = inverse
    for section, table in (
        (Section.U_VALUE, model.table_u),
        (Section.U_GRAD, model.table_u_grad),
        (Section.G_VALUE, model.table_g),
        (Section.G_GRAD, model.table_g_grad),
    ):
        if table is None:
            continue
        _, rows, outputs, _ = table.shape
        words = np.zeros((cfg.nets, rows, _power_of_two(outputs), LANES), dtype=np.uint32)
        words[:nets, :, :outputs] = encode_flt(table, fmt, what=f"table {section.name}")
        sections[section] = words.reshape(-1, LANES)
    return sections
