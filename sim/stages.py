"""Name the first stage, atom, neighbour and word in which the hardware left the reference.

Works on the taps of a verification build (`nvnmd.hdl.verify.taps`): each stage's words in the
order in which the hardware makes them, against the same words from the reference's trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvnmd.hdl.params import AcceleratorConfig, ceil_div
from nvnmd.hdl.verify.taps import STAGES
from nvnmd.quantize.formats import FixFormat, FloatFormat, encode_flt, to_fix
from nvnmd.quantize.reference import Trace
from nvnmd.sim.compare import COMPONENTS, Difference, atom_of_neighbor


@dataclass(frozen=True)
class StageWords:
    """A stage's words as beats, and where each beat belongs.

    Attributes
    ----------
    words : (beats, k) uint32
        Words side by side.
    atom : (beats,)
        Centre atom.
    neighbor : (beats,)
        Neighbour of the atom, -1 where the stage works on whole atoms.
    first : (beats,)
        Number of the beat's first word within atom or neighbour.
    """

    words: NDArray[np.uint32]
    atom: NDArray[np.int64]
    neighbor: NDArray[np.int64]
    first: NDArray[np.int64]


def stage_words(
    trace: Trace, mask: NDArray[np.bool_], cfg: AcceleratorConfig, z_lanes: int
) -> dict[str, StageWords]:
    """The words that each tap must show.

    Parameters
    ----------
    trace : Trace
        The reference's trace of the atoms.
    mask : (n, m)
        Which slots hold a neighbour.
    cfg : AcceleratorConfig
        Lanes and formats.
    z_lanes : int
        Words per beat of the z tap.
    """
    counts = mask.sum(axis=1)
    atom, position = atom_of_neighbor(counts)
    n = len(counts)
    everyone = np.arange(n)
    fmt = FloatFormat(cfg.exp_bits, cfg.frac)
    data = FixFormat(cfg.data_bits, cfg.fix_frac)
    wide, of_energy = (FixFormat(bits, cfg.fix_frac) for bits in (cfg.dd_bits, cfg.energy_bits))

    def flt(values: NDArray[np.float64]) -> NDArray[np.uint32]:
        return encode_flt(values, fmt)

    def fix(values: NDArray[np.float64], form: FixFormat) -> NDArray[np.uint32]:
        return (to_fix(values, form) & 0xFFFFFFFF).astype(np.uint32)

    def beats(words: NDArray[np.uint32], per_beat: int, owner: NDArray, nth: NDArray) -> StageWords:
        # words: (owners, words of one owner)
        total = words.shape[1] // per_beat
        return StageWords(
            words.reshape(-1, per_beat), np.repeat(owner, total), np.repeat(nth, total),
            np.tile(np.arange(total) * per_beat, len(owner)),
        )

    none = np.full(n, -1)
    lanes = cfg.m1 // ceil_div(cfg.m1, cfg.lanes)
    real = counts > 0
    out = {}
    for name in ("u", "s", "h", "su", "hu", "ds", "dh"):
        out[name] = beats(flt(getattr(trace, name)[mask])[:, None], 1, atom, position)
    out["r4"] = beats(flt(trace.r4[mask][:, 1:]), 3, atom, position)
    for name in ("g", "gs", "dg"):
        out[name] = beats(flt(getattr(trace, name)[mask]), lanes, atom, position)
    for name in ("dr4", "deriv"):
        out[name] = beats(flt(getattr(trace, name)[mask]), 4, atom, position)
    columns = flt(np.swapaxes(trace.gr, 1, 2)).reshape(n, -1)
    out["gr"] = beats(columns, 4, everyone, none)
    columns = flt(np.swapaxes(trace.dgr, 1, 2)).reshape(n, -1)[real]
    out["dgr"] = beats(columns, 4, everyone[real], none[real])
    out["d"] = beats(fix(trace.d, data), 1, everyone, none)
    out["dd"] = beats(fix(trace.dd, wide), 1, everyone, none)
    out["z"] = beats(fix(trace.z, data).reshape(n, -1), z_lanes, everyone, none)
    out["energy"] = beats(fix(trace.out, of_energy)[:, None], 1, everyone, none)
    return out


def z_by_atom(beats: NDArray[np.uint32], cfg: AcceleratorConfig) -> NDArray[np.uint32]:
    """Beats of the z tap, made by atoms that take turns, atom after atom and without their places.

    An atom keeps its place for all its beats, and atoms begin in their order.
    """
    count = cfg.hidden * cfg.width // max(1, beats.shape[1] - 1)
    open_atoms: dict[int, list[int]] = {}
    order: list[list[int]] = []
    for beat, place in enumerate(beats[:, 0].tolist()):
        if place not in open_atoms:
            open_atoms[place] = []
            order.append(open_atoms[place])
        open_atoms[place].append(beat)
        if len(open_atoms[place]) == count:
            del open_atoms[place]
    return beats[np.array([beat for atom in order for beat in atom], dtype=np.int64), 1:]


def first_difference(
    expected: Mapping[str, StageWords], taps: Mapping[str, NDArray[np.uint32]]
) -> Difference | None:
    """The earliest atom that differs anywhere, and its first differing stage in the data flow.

    Parameters
    ----------
    expected : mapping
        From `stage_words`.
    taps : mapping of (beats, k) uint32
        What the taps showed.
    """
    found: list[tuple[int, int, Difference]] = []
    for order, name in enumerate(STAGES):
        stage, seen = expected[name], taps[name]
        count = min(len(stage.words), len(seen))
        bad = np.argwhere(stage.words[:count] != seen[:count])
        if len(bad):
            beat, lane = (int(x) for x in bad[0])
            value = int(seen[beat, lane])
        elif len(seen) < len(stage.words):
            beat, lane, value = len(seen), 0, -1
        else:
            continue
        neighbor = int(stage.neighbor[beat])
        index = int(stage.first[beat]) + lane
        found.append((int(stage.atom[beat]), order, Difference(
            name, int(stage.atom[beat]), None if neighbor < 0 else neighbor,
            _word_name(name, index), int(stage.words[beat, lane]), value)))
    return min(found, key=lambda item: item[:2])[2] if found else None


def _word_name(stage: str, index: int) -> str:
    if stage == "deriv":
        return COMPONENTS[index]
    if stage in ("gr", "dgr"):
        return f"row {index % 4}, column {index // 4}"
    return str(index)
