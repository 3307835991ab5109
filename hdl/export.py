"""`nvnmd export-hdl`: everything needed to build and check the accelerator without Python."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nvnmd.errors import InputError, RangeError
from nvnmd.hdl.host.image import (
    build_image,
    fingerprint,
    load_map,
    section_beats,
    width_fields,
)
from nvnmd.hdl.pace import buffers_for
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.schedule import latencies
from nvnmd.hdl.streams import describe_streams
from nvnmd.hdl.verilog import TOP, generate_verilog
from nvnmd.quantize.model import Model
from nvnmd.quantize.reference import evaluate_atoms
from nvnmd.version import program_version

STIMULUS_ATOMS = 8


@dataclass(frozen=True)
class Exported:
    """What was written."""

    directory: Path
    files: tuple[str, ...]
    manifest: dict[str, Any]


def config_for(model: Model, *, fold: int | None = None, fit_cols: int | None = None,
               fit_rows: int | None = None, fit_atoms: int | None = None,
               **changes: Any) -> AcceleratorConfig:
    """The accelerator's parameters for a model: its sizes, the folds asked for, roomy buffers.

    Parameters
    ----------
    model : Model
        Gives version, sizes, widths, neighbours and table segments.
    fold : int, optional
        Cycles per neighbour; 32 by default, or as many as the model has features if that is less.
    fit_cols, fit_rows : int
        Multipliers of the fitting net; 32 columns by default, or as many as it is wide, and 1 row.
    fit_atoms : int
        Atoms that take turns in the fitting net; 1 by default.
    **changes
        Any other field of `AcceleratorConfig`. Buffers that are not named are those of
        `nvnmd.hdl.pace.buffers_for`.
    """
    ntypes = 1 << (model.ntypes - 1).bit_length()
    segments = {
        name: tuple((int(np.log2(s.step)), s.rows) for s in layout.segments)
        for name, layout in (("u", model.u_layout), ("s", model.s_layout))
    }
    values: dict[str, Any] = {
        "version": model.version,
        "sub_version": model.sub_version,
        "ntypes": ntypes,
        "max_nnei": model.max_nnei,
        "m1": model.m1,
        "m2": model.m2,
        "width": model.width,
        "hidden": model.hidden,
        "octave": model.own_slopes,
        "u_segments": segments["u"],
        "s_segments": segments["s"],
        "fold": min(32, model.m1) if fold is None else fold,
        "fit_cols": min(32, model.width) if fit_cols is None else fit_cols,
        "fit_rows": 1 if fit_rows is None else fit_rows,
        "fit_atoms": 1 if fit_atoms is None else fit_atoms,
        **width_fields(model.widths),
        "store_neighbors": 2 * model.max_nnei,
    }
    values.update(changes)
    sizes = AcceleratorConfig(**values)
    return replace(sizes, **{name: size for name, size in asdict(buffers_for(sizes)).items()
                             if name not in changes})


def export_hdl(model: Model, out_dir: Path, cfg: AcceleratorConfig) -> Exported:
    """Write Verilog, load image, manifest, stream description and a stimulus with its results.

    Parameters
    ----------
    model : Model
        The frozen model.
    out_dir : Path
        Folder to write, replaced as a whole once everything is ready.
    cfg : AcceleratorConfig
        Sizes and folds.

    Returns
    -------
    Exported

    Raises
    ------
    InputError
        If the model does not fit, or `out_dir` holds something else.
    """
    if out_dir.exists() and any(out_dir.iterdir()) and not (out_dir / "manifest.json").exists():
        raise InputError(f"{out_dir}: not empty and no earlier export, expected a new folder")
    temporary = out_dir.with_name(f".{out_dir.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    try:
        image = build_image(model, cfg)
        (temporary / f"{TOP}.v").write_text(generate_verilog(cfg), encoding="utf-8")
        (temporary / "model.bin").write_bytes(image.astype("<u4").tobytes())
        beats, last, energy, deriv = example_stimulus(model)
        _write_hex(temporary / "stimulus_nbr.hex", beats, last)
        _write_hex(temporary / "expected_deriv.hex", *deriv)
        (temporary / "expected_energy.hex").write_text(
            "".join(f"{int(e) & 0xFFFFFFFF:08x}\n" for e in energy), encoding="utf-8"
        )
        (temporary / "streams.md").write_text(describe_streams(cfg), encoding="utf-8")
        manifest = _manifest(model, cfg, temporary)
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n",
                                                   encoding="utf-8")
        if out_dir.exists():
            shutil.rmtree(out_dir)
        temporary.rename(out_dir)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Exported(out_dir, tuple(sorted(p.name for p in out_dir.iterdir())), manifest)


def example_stimulus(model: Model, seed: int = 1) -> tuple:
    """A few atoms with random neighbours, for a check of the export alone.

    Displacements lie between half the cut-off (at most 2 Å) and the cut-off; the first atom has no
    neighbour. Counts are halved until the reference accepts every value.

    Returns
    -------
    tuple
        Neighbour beats, last marks, energy words, (derivative words, last marks).
    """
    # the simulation room's stimulus code needs NumPy only
    from nvnmd.hdl.verify.stimulus import build_stimulus, expected_words

    rng = np.random.default_rng(seed)
    n, m = STIMULUS_ATOMS, model.nnei
    center = np.arange(n) % model.ntypes
    if model.version == 0:
        kinds = np.tile(np.repeat(np.arange(model.ntypes), model.sel), (n, 1))
    else:
        kinds = rng.integers(0, model.ntypes, (n, m))
    low = min(2.0, 0.5 * model.rcut)
    radius = np.cbrt(rng.uniform(low**3, model.rcut**3, (n, m)))
    direction = rng.normal(size=(n, m, 3))
    rij = direction / np.linalg.norm(direction, axis=2, keepdims=True) * radius[:, :, None]
    share = np.linspace(0.0, 0.7, n)
    while True:
        mask = np.zeros((n, m), dtype=bool)
        for i in range(n):
            start = 0
            for size in model.sel:
                mask[i, start : start + int(np.ceil(share[i] * size))] = True
                start += size
        try:
            trace = evaluate_atoms(model, center, rij, mask, kinds, "machine")
            break
        except RangeError:
            if share.max() < 0.02:
                raise
            share = share / 2
    stimulus = build_stimulus(center, rij, mask, kinds, model.widths)
    expected = expected_words(trace, mask, model.widths)
    return stimulus.beats, stimulus.last, expected.energy, (expected.deriv, expected.last)


def _write_hex(path: Path, beats: np.ndarray, last: np.ndarray) -> None:
    """One beat a line: the last mark, then 128 bits, most significant digit first."""
    lines = [
        f"{int(mark)}{''.join(f'{int(w):08x}' for w in beat[::-1])}\n"
        for beat, mark in zip(beats, last, strict=True)
    ]
    path.write_text("".join(lines), encoding="utf-8")


def _manifest(model: Model, cfg: AcceleratorConfig, folder: Path) -> dict[str, Any]:
    schedule = latencies(cfg)
    memory_map = [
        {"section": section.name, "number": int(section), "first_beat": start, "beats": beats}
        for section, start, beats in load_map(cfg)
    ]
    return {
        "nvnmd": program_version(),
        "top": TOP,
        "parameters": cfg.to_dict(),
        "widths": {
            "flt": cfg.flt_bits,
            "gr_accumulator": cfg.acc_bits,
            "fit_data": cfg.data_bits,
            "fit_gradient": cfg.dd_bits,
            "fit_weight": cfg.weight_bits,
            "energy": cfg.energy_bits,
            "fix_fraction": cfg.fix_frac,
        },
        "latency": {
            **schedule.to_dict(),
            "cycles_per_atom_full_list": schedule.cycles_per_atom(model.nnei),
        },
        "fingerprint": f"{fingerprint(cfg):08x}",
        "memory_map": memory_map,
        "load_beats": 1 + sum(section_beats(cfg).values()),
        "model": {
            "digest": model.digest,
            "type_map": list(model.type_map),
            "sel": list(model.sel),
            "rcut": model.rcut,
            "energy_bias": [float(b) for b in model.t_bias_atom_e],
        },
        "files": {
            p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())
        },
    }
