"""An example of each line of docs/deepmd_data.md that speaks of data.

An example of a line "read" asserts the meaning; one of a line "refused" calls what refuses it, and
one of a line "not used" returns the warnings.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.mixed_data import as_hdf5

from nvnmd.data.find import find_systems
from nvnmd.data.sampler import BatchSampler
from nvnmd.data.systems import load_groups, load_system
from nvnmd.inputs.loss_terms import atom_labels
from nvnmd.inputs.read import parse_document

NAMES = ("Cu", "Au")
FRAMES, ATOMS = 4, 2
EXAMPLES: dict[tuple[str, str], Callable[[Path], Any]] = {}


def line(page: str, words: str) -> Callable:
    """Take a function as the example of a line."""
    def keep(function: Callable[[Path], Any]) -> Callable[[Path], Any]:
        EXAMPLES[page, words] = function
        return function
    return keep


def make(folder: Path, frames: int = FRAMES, types=(0, 1), sets=("set.000",)) -> Path:
    """A system of random numbers, periodic, with energies and forces."""
    rng = np.random.default_rng(3)
    for name in sets:
        (folder / name).mkdir(parents=True)
        width = 3 * len(types)
        save(folder, "coord", rng.normal(size=(frames, width)), name)
        save(folder, "force", rng.normal(size=(frames, width)), name)
        save(folder, "energy", rng.normal(size=frames), name)
        save(folder, "box", np.tile(9 * np.eye(3).ravel(), (frames, 1)), name)
    (folder / "type.raw").write_text("\n".join(map(str, types)) + "\n")
    (folder / "type_map.raw").write_text("Cu\nAu\n")
    return folder


def save(folder: Path, name: str, array, part: str = "set.000") -> None:
    np.save(folder / part / f"{name}.npy", array)


def stored(folder: Path, name: str, part: str = "set.000"):
    return np.load(folder / part / f"{name}.npy")


def document(systems, told: list[str] | None = None, **loss):
    """A run on these systems; `told` takes its warnings."""
    text = {"nvnmd": {"version": 0, "max_nnei": 128, "sel": [8, 8], "type_map": list(NAMES)},
            "loss": loss, "training": {"numb_steps": 10,
                                       "training_data": {"systems": systems, "batch_size": 1}}}
    warn = (lambda said: None) if told is None else told.append
    return parse_document(text, "in.json", warn=warn)


SYSTEM = "System"


@line(SYSTEM, "`type.raw`")
def _(tmp):
    folder = make(tmp / "s")
    for text in ("0 1\n", "0\n1\n", "0.000e+00\n1.000e+00\n", "# types\n0\n1 # Au\n", "0\r\n1\r\n"):
        (folder / "type.raw").write_bytes(text.encode())
        assert load_system(folder, NAMES).types.tolist() == [0, 1]


@line(SYSTEM, "`type_map.raw`")
def _(tmp):
    folder = make(tmp / "s")
    (folder / "type_map.raw").write_text("Au Cu\n")
    assert load_system(folder, NAMES).types.tolist() == [1, 0]
    (folder / "type_map.raw").unlink()
    assert load_system(folder, NAMES).types.tolist() == [0, 1]


@line(SYSTEM, "`type_map.raw` with an element that the document lacks")
def _(tmp):
    folder = make(tmp / "s")
    (folder / "type_map.raw").write_text("Cu Ag\n")
    load_system(folder, NAMES)


@line(SYSTEM, "`nopbc`")
def _(tmp):
    folder = make(tmp / "s")
    assert load_system(folder, NAMES).box is not None
    (folder / "nopbc").touch()
    assert load_system(folder, NAMES).box is None
    (folder / "set.000/box.npy").unlink()
    assert load_system(folder, NAMES).box is None


@line(SYSTEM, "`nopbc` that says False")
def _(tmp):
    folder = make(tmp / "s")
    (folder / "nopbc").write_text("False\n")
    load_system(folder, NAMES)


def _in_either_form(tmp, name, shape, attribute=None):
    folder = make(tmp / "s")
    values = np.random.default_rng(5).normal(size=(FRAMES, *shape))
    if name == "box":
        values += 9 * np.eye(3)
    for array in (values, values.reshape(FRAMES, -1), values.astype(">f8"),
                  np.asfortranarray(values)):
        save(folder, name, array)
        np.testing.assert_array_equal(getattr(load_system(folder, NAMES), name), values)


for _name, _shape in (("coord", (ATOMS, 3)), ("force", (ATOMS, 3)), ("box", (3, 3)),
                      ("virial", (3, 3))):
    EXAMPLES[SYSTEM, f"`{_name}`"] = (
        lambda tmp, name=_name, shape=_shape: _in_either_form(tmp, name, shape))


@line(SYSTEM, "`box` of three or six numbers")
def _(tmp):
    folder = make(tmp / "s")
    save(folder, "box", np.full((FRAMES, 6), 9.0))
    load_system(folder, NAMES)


@line(SYSTEM, "`energy`")
def _(tmp):
    folder = make(tmp / "s")
    energy = stored(folder, "energy")
    save(folder, "energy", energy[:, None])
    np.testing.assert_array_equal(load_system(folder, NAMES).energy, energy)


def _not_used(tmp, name, width):
    folder, told = make(tmp / "s"), []
    save(folder, name, np.ones((FRAMES, width)))
    document([str(folder)], told)
    return told


for _name, _width in (("fparam", 2), ("aparam", 3 * ATOMS), ("hessian", 9 * ATOMS**2),
                      ("dipole", 3), ("atomic_dipole", 3 * ATOMS), ("polarizability", 9),
                      ("atomic_polarizability", 9 * ATOMS), ("spin", 3 * ATOMS)):
    EXAMPLES[SYSTEM, f"`{_name}`"] = (
        lambda tmp, name=_name, width=_width: _not_used(tmp, name, width))


@line(SYSTEM, "`numb_copy`")
def _(tmp):
    folder = make(tmp / "s")
    save(folder, "numb_copy", np.array([1, 2, 5, 0]))
    (group,) = load_groups(folder, NAMES)
    sampler = BatchSampler([FRAMES], [1], 1, copies=[group.copies])
    drawn = [int(sampler.draw()[1][0]) for _ in range(16)]
    assert np.bincount(drawn, minlength=FRAMES).tolist() == [2, 4, 10, 0]


def _of_the_loss(tmp, name, shape, stored_as=None, **loss):
    folder, told = make(tmp / "s"), []
    values = np.random.default_rng(6).normal(size=(FRAMES, ATOMS, *shape))
    save(folder, stored_as or name, values.reshape(FRAMES, -1))
    config = document([str(folder)], told, **loss)
    system = load_system(folder, NAMES, atom_labels=atom_labels(config.loss))
    np.testing.assert_array_equal(system.atom_labels[name], values)
    assert not told
    # without the term nothing is read, and that is told
    document([str(folder)], told)
    assert len(told) == 1 and f"{stored_as or name}.npy" in told[0]


LABELLED = (("atom_ener", (), {"start_pref_ae": 1.0}), ("atom_pref", (), {"limit_pref_pf": 1.0}),
            ("drdq", (3, 2), {"start_pref_gf": 1.0, "numb_generalized_coord": 2}))
for _name, _shape, _loss in LABELLED:
    EXAMPLES[SYSTEM, f"`{_name}`"] = (
        lambda tmp, name=_name, shape=_shape, loss=_loss: _of_the_loss(tmp, name, shape, **loss))


@line(SYSTEM, "a label that the loss asks for, missing in one set")
def _(tmp):
    folder = make(tmp / "s", sets=("set.000", "set.001"))
    save(folder, "virial", np.ones((FRAMES, 9)))
    load_system(folder, NAMES)


@line(SYSTEM, "`real_atom_types`")
def _(tmp):
    folder = make(tmp / "s", types=(0, 0, 0))
    save(folder, "real_atom_types", np.array([[0, 1, 1], [1, 0, 1], [0, 1, -1], [-1, 0, 0]]))
    groups = load_groups(folder, NAMES)
    assert [group.types.tolist() for group in groups] == [[0, 1, 1], [0, 1], [0, 0]]
    coord = stored(folder, "coord").reshape(FRAMES, 3, 3)
    np.testing.assert_array_equal(groups[0].coord[1], coord[1, [1, 0, 2]])
    np.testing.assert_array_equal(groups[2].coord[0], coord[3, 1:])


@line(SYSTEM, "`real_atom_types` in some sets of a system")
def _(tmp):
    folder = make(tmp / "s", sets=("set.000", "set.001"))
    save(folder, "real_atom_types", np.tile([0, 1], (FRAMES, 1)))
    load_groups(folder, NAMES)


FORMATS = "Formats of a system"


@line(FORMATS, "`set.*`")
def _(tmp):
    folder = make(tmp / "s", sets=("set.000", "set.001", "set.extra"))
    system = load_system(folder, NAMES)
    expected = np.concatenate([stored(folder, "energy", part)
                               for part in ("set.000", "set.001", "set.extra")])
    np.testing.assert_array_equal(system.energy, expected)


@line(FORMATS, "`atomic_ener` for `atom_ener`")
def _(tmp):
    _of_the_loss(tmp, "atom_ener", (), "atomic_ener", start_pref_ae=1.0)


@line(FORMATS, "`data.hdf5#/H2O`")
def _(tmp):
    folder = make(tmp / "s")
    name = as_hdf5(folder, tmp / "data.hdf5", "/H2O")
    as_hdf5(make(tmp / "t"), tmp / "data.hdf5", "/more/D2O")
    np.testing.assert_array_equal(load_system(name, NAMES).coord, load_system(folder, NAMES).coord)
    assert [str(path) for path in find_systems(tmp / "data.hdf5")] == [
        f"{tmp}/data.hdf5#/H2O", f"{tmp}/data.hdf5#/more/D2O"]


@line(FORMATS, "`coord.raw`, `force.raw`, ...")
def _(tmp):
    folder = make(tmp / "s")
    for name in ("coord", "force", "energy", "box"):
        np.savetxt(folder / f"{name}.raw", stored(folder, name).reshape(FRAMES, -1))
    shutil.rmtree(folder / "set.000")
    load_system(folder, NAMES)


@line(FORMATS, "one frame as `raw_to_set.sh` leaves it")
def _(tmp):
    folder = make(tmp / "s", frames=1)
    coord = stored(folder, "coord")
    for name in ("coord", "force", "box"):
        save(folder, name, stored(folder, name)[0])
    save(folder, "energy", np.array(-1.5))
    system = load_system(folder, NAMES)
    np.testing.assert_array_equal(system.coord.ravel(), coord.ravel())
    assert system.nframes == 1 and system.energy.tolist() == [-1.5]


@line(FORMATS, "an array whose shape could mean two things")
def _(tmp):
    folder = make(tmp / "s")
    save(folder, "force", stored(folder, "force").reshape(ATOMS, FRAMES, 3))
    load_system(folder, NAMES)


@line(FORMATS, "`data.lmdb`")
def _(tmp):
    (tmp / "data.lmdb").mkdir()
    (tmp / "data.lmdb/data.mdb").touch()
    document(str(tmp / "data.lmdb"))


DPDATA = "Prepare data with dpdata"


def _written(tmp, form, read):
    dpdata = pytest.importorskip("dpdata")
    folder = make(tmp / "s", types=(0, 1, 1))
    data = dpdata.LabeledSystem(str(folder), fmt="deepmd/npy")
    where = tmp / ("out.hdf5" if form == "deepmd/hdf5" else "out")
    if form == "deepmd/npy/mixed":
        dpdata.MultiSystems(data).to(form, str(where))
    else:
        data.to(form, str(where), **({"set_size": 3} if form == "deepmd/npy" else {}))
    (found,) = [load_system(name, NAMES) for name in find_systems(where)]
    np.testing.assert_allclose(found.coord, load_system(folder, NAMES).coord, rtol=1e-6)
    assert found.types.tolist() == [0, 1, 1] and found.nframes == FRAMES


for _form, _words in (("deepmd/npy", '`to("deepmd/npy", ..., set_size=...)`'),
                      ("deepmd/npy/mixed", '`to("deepmd/npy/mixed", ...)`'),
                      ("deepmd/hdf5", '`to("deepmd/hdf5", ...)`')):
    EXAMPLES[DPDATA, _words] = lambda tmp, form=_form: _written(tmp, form, None)
