"""Stages that quantize one half or restore one, beside DeePMD-kit: its weights, its numbers.

In version 1 they begin from a first stage that reference_run.py brought past DeePMD-kit's table
builder; DeePMD-kit 3.2.0 runs them as they are.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.data.systems import System
from nvnmd.deepmd.files import read_dict
from nvnmd.deepmd.tables import read_map
from nvnmd.deepmd.weights import from_deepmd
from nvnmd.inputs.read import parse_document
from nvnmd.mapping.freeze import freeze_model
from nvnmd.network.weights import FloatWeights
from nvnmd.training.continuous.batches import make_layouts, pack
from nvnmd.training.quantized.batches import QuantizedFrames

pytestmark = pytest.mark.peer

# Learning rate of the one step of part_run.py, which is how far Adam's first step goes
RATE = 1e-5


@pytest.fixture(params=[0, 1], ids=["v0", "v1"])
def case(request, reference, made_by):
    """A function: name of the stage -> its files, its weights, the run, and the frames."""
    base = reference(request.param, 128, 2)
    return lambda name: load(made_by("part_run.py", name, after=(str(base),)), base)


def load(folder: Path, base: Path):
    """A stage's files, weights and run, and the frames of the reference it began from."""
    document = json.loads((folder / "part.json").read_text())
    document["training"].pop("numb_test", None)
    # DeePMD-kit passes over a file that no switch reads, this program refuses it, and a restored
    # part without its file
    restored = any(document["nvnmd"][f"restore_{part}"] for part in ("descriptor", "fitting_net"))
    for key in [key for key in document["nvnmd"] if key.endswith("_file")]:
        if key != "weight_file" or not restored:
            document["nvnmd"].pop(key)
    config = parse_document(document, "part.json", find_systems=False)
    weights = from_deepmd(read_dict(folder / "weight.npy"))
    frames = np.load(base / "expected.npz")
    coord, box = frames["coord"], frames["box"]
    system = System(path="frames", types=frames["type"].astype(np.int64),
                    coord=coord.reshape(len(coord), -1, 3), box=box.reshape(-1, 3, 3),
                    energy=None, force=None, virial=None)
    cache = NeighborCache([system], config.descriptor.sel, config.descriptor.rcut,
                          config.type_map, shared=config.version == 1)
    return folder, weights, config, cache


def expected(folder: Path, system: System):
    """DeePMD-kit's atomic energies, forces and virials, atoms sorted by type."""
    order = np.argsort(system.types, kind="stable")
    found = np.load(folder / "expected.npz")
    return found["atom_energy"][:, order], found["force"][:, order], found["virial"]


def first_stage(folder: Path) -> FloatWeights:
    return from_deepmd(read_dict(folder / "nvnmd_cnn" / "weight.npy"))


def test_tables_with_float_fitting_nets(case):
    from nvnmd.training.partial.models import TableDescriptorModel

    folder, weights, config, cache = case("table")
    weights = dataclasses.replace(first_stage(folder), fit_weights=weights.fit_weights,
                                  fit_biases=weights.fit_biases, tweight=weights.tweight)
    model = freeze_model(weights, read_map(folder / "nvnmd_cnn" / "map.npy"), config)
    batch = QuantizedFrames(model, cache).batch(0, [0, 1])
    found = TableDescriptorModel(model, weights).predict(batch, once=True)
    energy, force, virial = expected(folder, cache.systems[0])
    # the float half sums in another order; what the tables give is the same to the last bit
    np.testing.assert_allclose(found.atom_energy, energy, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.force, force, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.virial.reshape(-1, 9), virial, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["fixed", "fresh", "float"])
def test_float_descriptor(case, name):
    from nvnmd.training.continuous.tf_model import TfFloatModel
    from nvnmd.training.partial.models import FixedFittingModel

    folder, weights, config, cache = case(name)
    dscp, system = config.descriptor, cache.systems[0]
    model = (TfFloatModel if name == "float" else FixedFittingModel)(
        weights, sel=dscp.sel, rcut=dscp.rcut, rcut_smth=dscp.rcut_smth)
    layout = make_layouts([system], [2], dscp.sel, ntypes=config.ntypes)[0]
    batch = pack(cache, 0, [0, 1], layout)
    _, atomic, force, virial = model.predict(batch)
    per_frame = [batch.frame == k for k in range(2)]
    energy, wanted, tensor = expected(folder, system)
    found = np.array([atomic[rows] for rows in per_frame])
    if name == "float":
        np.testing.assert_allclose(found, energy, rtol=0, atol=1e-11)
    else:
        # whole numbers of 2**-23 eV, all of them DeePMD-kit's
        np.testing.assert_array_equal(found, energy)
    np.testing.assert_allclose([force[rows] for rows in per_frame], wanted, rtol=0, atol=1e-13)
    np.testing.assert_allclose(virial.reshape(-1, 9), tensor, rtol=0, atol=1e-11)
    # In version 0 a restored descriptor stays as it was, one that is not begins anew. In version 1
    # DeePMD-kit restores it and trains it on, this program holds it there too.
    before = first_stage(folder)
    moved = [np.abs(one - two).max() for net, old in zip(weights.embedding, before.embedding,
                                                         strict=True)
             for layer, first in zip(net, old, strict=True)
             for one, two in zip(layer, first, strict=True)]
    if name == "fresh":
        assert min(moved) > RATE
    elif weights.version == 0:
        assert max(moved) == 0.0
    else:
        assert 0.0 < max(moved) < 1.001 * RATE
