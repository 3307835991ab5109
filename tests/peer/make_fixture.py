"""Make the committed fixtures `tests/fixtures/deepmd_v0_ni{128,256}.npz` with DeePMD-kit 3.2.0.

Run with the Python of the environment that holds DeePMD-kit and ASE (`make peer`):

    .venv-peer/bin/python tests/peer/make_fixture.py WORKDIR [128] [256]

Both NVNMD stages of DeePMD-kit are run on a data set that alloy.py makes. To keep the files small,
the hidden fitting matrices are put on a grid *in the checkpoints* (2^-20 after the first stage,
2^-25 after the second), and DeePMD-kit freezes, tabulates and evaluates what it then finds: the
expected values are those of exactly the stored weights, nothing is rounded afterwards. Of the G
tables only the rows that the frames visit are stored (`g_rows` says which); a test that reads
another row reads zeros.
"""

from __future__ import annotations

import io
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import alloy
import deepmd_run as run
import numpy as np
from ase import Atoms

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
CNN_BITS, QNN_BITS = 20, 25
SETTINGS: dict[int, dict[str, Any]] = {
    128: {
        "ntypes": 2,
        "sel": [50, 32],
        "rcut": 6.0,
        "lattice": (3.65, 4.15),
        "seed": 7,
        "steps": 300,
        "rates": (1e-3, 1e-4),
    },
    256: {
        "ntypes": 1,
        "sel": [256],
        "rcut": 8.0,
        "lattice": (3.3, 3.75),
        "seed": 11,
        # Trained further, dE/dD of this model exceeds 8, more than the hardware's 27 bits hold.
        "steps": 60,
        "rates": (5e-4, 1e-4),
    },
}


def neighbour_counts(atoms: Atoms, types: np.ndarray, ntypes: int, rcut: float) -> np.ndarray:
    """Neighbours of each type within rcut, (n, ntypes)."""
    from ase.neighborlist import neighbor_list

    i, j = neighbor_list("ij", atoms, rcut)
    counts = np.zeros((len(atoms), ntypes), dtype=int)
    np.add.at(counts, (i, types[j]), 1)
    return counts


def scaled_to_count(
    atoms: Atoms, types: np.ndarray, ntypes: int, kind: int, rcut: float, wanted: int
) -> Atoms:
    """The structure scaled until the most crowded atom has `wanted` neighbours of a type."""
    low, high = 0.7, 1.3  # scale factors: too dense, too thin
    for _ in range(60):
        middle = 0.5 * (low + high)
        trial = atoms.copy()
        trial.set_cell(atoms.cell.array * middle, scale_atoms=True)
        trial = alloy.rounded(trial)
        most = neighbour_counts(trial, types, ntypes, rcut)[:, kind].max()
        if most == wanted:
            return trial
        low, high = (middle, high) if most > wanted else (low, middle)
    raise RuntimeError(f"no scale gives {wanted} neighbours")


def alloy_frames(setting: dict[str, Any]) -> tuple[np.ndarray, list[tuple[str, Atoms]]]:
    """Eight atoms of Cu and Au: the cases that decide bits, one frame each."""
    rng = np.random.default_rng(2024)
    types = np.array([0, 1, 0, 0, 1, 0, 1, 0])
    type_map = alloy.TYPE_MAPS[2]
    rcut, sel = setting["rcut"], setting["sel"]
    crystal = alloy.rounded(alloy.fcc(3.8, (2, 1, 1), types, type_map))
    melt = alloy.distort(crystal, rng, strain=0.12, rattle=0.25)
    full = scaled_to_count(melt, types, 2, 0, rcut, sel[0])
    # Whole lattice vectors away: the wrap of positions decides the last bits of displacements.
    full.positions += rng.integers(-2, 3, (8, 3)) @ full.cell.array
    crushed = melt.copy()
    crushed.set_cell(melt.cell.array * 0.86, scale_atoms=True)
    cluster = Atoms(melt.get_chemical_symbols(), cell=np.diag([25.0, 26.0, 27.0]), pbc=True)
    cluster.positions = [
        [1.0, 1.0, 1.0],  # a trimer of 0, 1, 2 over the cell's corner
        [24.5, 1.5, 26.5],
        [2.5, 25.0, 1.0],
        [12.0, 12.0, 12.0],  # no neighbour at all
        [6.0, 18.0, 20.0],  # 4 and 5: just inside the cutoff; 6: just outside of 4
        [12.0 - 2.0**-19, 18.0, 20.0],
        [6.0, 18.0, 26.0 + 2.0**-18],
        [12.0, 16.5, 22.0],
    ]
    droplet = Atoms(melt.get_chemical_symbols(), positions=crystal.positions, pbc=False)
    droplet.positions += rng.normal(0.0, 0.15, (8, 3))
    frames = [
        ("full", full),
        ("crystal", crystal),
        ("cluster", cluster),
        ("droplet", droplet),
        ("crushed", crushed),
    ]
    return types, [(name, alloy.rounded(f)) for name, f in frames]


def copper_frames(setting: dict[str, Any]) -> tuple[np.ndarray, list[tuple[str, Atoms]]]:
    """Four atoms of compressed copper at 8 Å: more than 200 neighbours, and exactly 256."""
    rng = np.random.default_rng(2025)
    types = np.zeros(4, dtype=int)
    dense = alloy.rounded(alloy.fcc(3.42, (1, 1, 1), types, ("Cu",)))
    melt = alloy.distort(dense, rng, strain=0.08, rattle=0.15)
    full = scaled_to_count(melt, types, 1, 0, setting["rcut"], 256)
    return types, [("full", full), ("crystal", dense)]


def words(values: np.ndarray) -> np.ndarray:
    """29-bit words of flt values (sign, exponent + 128, 20 fraction bits), a value's low bits cut.

    Magnitudes below 2^-127 and both zeros become the zero word.
    """
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.uint64)
    exponent = ((bits >> np.uint64(52)) & np.uint64(0x7FF)).astype(np.int64) - 1023
    if (exponent > 127).any():
        raise ValueError("a value exceeds the flt exponent")
    field = np.where(exponent >= -127, exponent + 128, 0).astype(np.uint64)
    word = (bits >> np.uint64(63)) << np.uint64(28) | field << np.uint64(20)
    word |= (bits >> np.uint64(32)) & np.uint64(0xFFFFF)
    return np.where(exponent >= -127, word, 0).astype(np.uint32)


def floats(word: np.ndarray) -> np.ndarray:
    """Values of 29-bit words."""
    w = word.astype(np.int64)
    value = np.ldexp((w & 0xFFFFF) + 2.0**20, ((w >> 20) & 0xFF) - 148)
    return np.where(w == 0, 0.0, np.where(w >> 28 == 1, -value, value))


def exact_words(name: str, values: np.ndarray) -> np.ndarray:
    """Words of values that the format must hold exactly (-0 aside, which becomes +0)."""
    word = words(values)
    wrong = floats(word) != values
    if wrong.any():
        raise ValueError(f"{name}: {wrong.sum()} values are no flt words, first {values[wrong][0]}")
    return word


def visited(x: np.ndarray, x0: float, ends: tuple[float, float], steps: tuple[float, float]):
    """Rows of the two-segment G table that the values x read."""
    first = (x >= x0) & (x <= ends[0])
    step = np.where(first, steps[0], steps[1])
    rows = np.clip(np.floor((x - x0) / step), 0, 255).astype(int)
    return np.unique(np.where(first, rows, rows + 256))


def horner_s(env: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """s from u in binary64: close enough to find the row, given a guard row on both sides."""
    row = np.clip((env / 0.125).astype(int), 0, 511)
    x = np.minimum(env - row * 0.125, 0.125)
    a, b, c, d = coefficients[row].T
    return ((a * x + b) * x + c) * x + d


def pack_tables(tables: dict[str, Any], frames: list[dict], types: np.ndarray) -> dict[str, Any]:
    """u tables whole, G tables by the rows visited, as words."""
    ntypes = len(tables["s"])
    out: dict[str, Any] = {
        "u_segments": np.asarray(tables["cfg_u2s"], dtype=np.float64),
        "g_segments": np.asarray(tables["cfg_s2g"], dtype=np.float64),
    }
    for suffix in ("", "_grad"):
        pairs = [
            np.stack([tables[k + suffix][t] for k in ("s", "h")], axis=1) for t in range(ntypes)
        ]
        out["table_u" + suffix] = words(np.stack(pairs))
    x0 = tables["cfg_s2g"][0][0]
    sorted_types = np.sort(types)
    blocks = np.repeat(np.arange(ntypes), tables["sel"])
    for t in range(ntypes):
        rows: set[int] = {0}
        for frame in frames:
            for centre in range(ntypes):
                u = frame["env"][sorted_types == centre][:, blocks == t, 0].ravel()
                s = horner_s(u, tables["s"][centre])
                for guard in (-(2.0**-15), 0.0, 2.0**-15):
                    rows |= set(visited(s + guard, x0, (x0 + 1.0, x0 + 16.0), (2.0**-8, 2.0**-4)))
        index = np.array(sorted(rows), dtype=np.int32)
        out[f"g_rows_{t}"] = index
        for suffix in ("", "_grad"):
            table = np.asarray(tables["g" + suffix][t]).reshape(512, 32, 4)
            out[f"table_g{suffix}_{t}"] = words(table[index])
    return out


def on_grid(name: str, values: np.ndarray, bits: int) -> np.ndarray:
    """Integers of values that lie on the grid 2^-bits."""
    scaled = values * 2.0**bits
    if (scaled != np.rint(scaled)).any() or np.abs(scaled).max() >= 2**31:
        raise ValueError(f"{name} is off the grid 2^-{bits}")
    return scaled.astype(np.int32)


def pack_weights(cnn: dict[str, Any], qnn: dict[str, Any], ntypes: int) -> dict[str, Any]:
    """Both stages' weights: hidden matrices as integers, the second's as a difference."""
    out: dict[str, Any] = {"cnn_bits": np.array(CNN_BITS), "qnn_bits": np.array(QNN_BITS)}
    for key, value in cnn.items():
        if key in ("descrpt_attr.t_avg", "descrpt_attr.t_std"):
            out[key] = value[:, :4]  # the same four columns for every slot
            if (value.reshape(ntypes, -1, 4) != value[:, None, :4]).any():
                raise ValueError(f"{key} differs between slots")
        elif key.startswith("filter_type_all") or key.startswith("train_attr"):
            out[key] = np.asarray(value)
    for stage, weights in (("cnn", cnn), ("qnn", qnn)):
        out[f"{stage}.t_bias_atom_e"] = np.asarray(weights["t_bias_atom_e"])
        for t in range(ntypes):
            for layer in ("layer_0", "layer_1", "layer_2", "final_layer"):
                key = f"{layer}_type_{t}"
                out[f"{stage}.{key}.bias"] = weights[f"{key}.bias"]
                matrix = weights[f"{key}.matrix"]
                if layer == "final_layer":
                    out[f"{stage}.{key}.matrix"] = matrix
                elif stage == "cnn":
                    out[f"cnn.{key}.matrix"] = on_grid(key, matrix, CNN_BITS)
                else:
                    change = matrix - cnn[f"{key}.matrix"]
                    out[f"qnn.{key}.change"] = on_grid(key, change, QNN_BITS)
    return out


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an npz with LZMA members (half the size of deflate) and fixed dates."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array, order="C"), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_LZMA
            archive.writestr(info, buffer.getvalue())


def train(folder: Path, capacity: int, setting: dict[str, Any]) -> None:
    """Both stages, with the hidden matrices put on their grids in between."""
    alloy.training_set(
        folder / "train", setting["ntypes"], lattice=setting["lattice"], seed=setting["seed"]
    )
    common = {
        "max_nnei": capacity,
        "sel": setting["sel"],
        "rcut": setting["rcut"],
        "ntypes": setting["ntypes"],
        "system": "train",
    }
    alloy.write_input(folder / "cnn.json", steps=setting["steps"], rates=setting["rates"], **common)
    alloy.write_input(folder / "qnn.json", steps=10, rates=(2e-6, 1e-6), **common)
    run.train_cnn(folder, "cnn.json")
    run.round_checkpoint(folder, "nvnmd_cnn", CNN_BITS)
    run.freeze(folder, "nvnmd_cnn")
    run.map_tables(folder)
    run.train_qnn(folder, "qnn.json")
    run.round_checkpoint(folder, "nvnmd_qnn", QNN_BITS)
    run.freeze(folder, "nvnmd_qnn")


def make(work: Path, capacity: int) -> None:
    """Make the fixture of one neighbour capacity."""
    setting = SETTINGS[capacity]
    folder = work / f"ni{capacity}"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        started = time.time()
        train(folder, capacity, setting)
        (folder / "done").write_text(f"{time.time() - started:.0f} s\n")
    types, frames = alloy_frames(setting) if capacity == 128 else copper_frames(setting)

    out: dict[str, Any] = {
        "type_map": np.array(alloy.TYPE_MAPS[setting["ntypes"]]),
        "max_nnei": np.array(capacity),
        "sel": np.array(setting["sel"]),
        "rcut": np.array(setting["rcut"]),
        "rcut_smth": np.array(0.5),
        "type": types.astype(np.int32),
        "frame_names": np.array([name for name, _ in frames]),
        "coord": np.stack([f.positions for _, f in frames]),
        "box": np.stack([f.cell.array for _, f in frames]),  # all zero: open boundary
    }
    inner = []
    for name, atoms in frames:
        box = atoms.cell.array if atoms.pbc.all() else None
        counts = neighbour_counts(atoms, types, setting["ntypes"], setting["rcut"])
        print(f"ni{capacity} {name}: neighbours {counts.min(axis=0)} to {counts.max(axis=0)}")
        arguments = (atoms.positions, box, types)
        for stage in ("cnn", "qnn"):
            got = run.evaluate(folder / f"nvnmd_{stage}/frozen_model.pb", *arguments)
            del got["atom_virial"]  # large, and its sum over atoms is here
            for key, value in got.items():
                out.setdefault(f"{stage}_{key}", []).append(value)
        inner.append(run.internals(folder / "nvnmd_qnn/frozen_model.pb", *arguments))
    out = {k: np.stack(v) if isinstance(v, list) else v for k, v in out.items()}
    out["order"] = inner[0]["order"].astype(np.int32)
    out["rij"] = np.stack([f["rij"] for f in inner])
    out["nlist"] = np.stack([f["nlist"] for f in inner]).astype(np.int32)
    out["descriptor"] = on_grid("descriptor", np.stack([f["descriptor"] for f in inner]), 23)
    for key in ("env", "net_deriv"):
        out[key] = exact_words(key, np.stack([f[key] for f in inner]))

    tables = run.load_dict(folder / "nvnmd_cnn/map.npy")
    out |= pack_tables(tables | {"sel": setting["sel"]}, inner, types)
    out |= pack_weights(
        run.load_dict(folder / "nvnmd_cnn/weight.npy"),
        run.load_dict(folder / "nvnmd_qnn/weight.npy"),
        setting["ntypes"],
    )
    path = FIXTURES / f"deepmd_v0_ni{capacity}.npz"
    write_npz(path, out)
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    for wanted in [int(a) for a in sys.argv[2:]] or sorted(SETTINGS):
        make(Path(sys.argv[1]).resolve(), wanted)
