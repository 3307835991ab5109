"""Pairs of types that are no neighbours: in lists, in the float stage, refused for deployment."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.cnn_runs import data, make_config, train  # noqa: F401
from support.float_cases import RCUT, SEL, alloy

import nvnmd
from nvnmd.deepmd.importer import import_model
from nvnmd.errors import InputError, ModelFileError
from nvnmd.neighbors.slots import build_neighborhood


@pytest.mark.parametrize("sel", [SEL, (sum(SEL),)])
@pytest.mark.parametrize("exclude", [((0, 1),), ((1, 1),), ((0, 0), (0, 1))])
def test_neighbour_lists(sel, exclude):
    coord, box, types = alloy()
    ntypes = None if len(sel) == 2 else 2
    every = build_neighborhood(coord, box, types, sel, RCUT, ntypes=ntypes)
    some = build_neighborhood(coord, box, types, sel, RCUT, ntypes=ntypes, exclude=exclude)

    def pairs(near):
        centre, slot = np.nonzero(near.mask)
        other = near.index[centre, slot]
        kinds = np.sort(np.stack([near.center_types[centre], near.center_types[other]]), axis=0)
        return {(int(c), int(o), *r) for c, o, r, k in
                zip(centre, other, near.rij[centre, slot].tolist(), kinds.T.tolist(), strict=True)
                if tuple(k) not in exclude}

    assert pairs(some) == pairs(every)
    assert some.mask.sum() == len(pairs(every)) < every.mask.sum()


def test_float_stage_and_its_refusals(data, tmp_path):
    config = make_config(data[:1], batch_size=(1,), numb_steps=1)
    config = replace(config, descriptor=replace(config.descriptor, exclude_types=((0, 1),)))
    folder = tmp_path / "nvnmd_cnn"
    train(config, folder)
    potential = nvnmd.load_model(folder)
    # two atoms of types that exclude each other have the energy of two lone ones
    coord, apart = np.array([[0.0, 0, 0], [2.5, 0, 0]]), np.array([[0.0, 0, 0], [9.0, 0, 0]])

    def energy(positions, types):
        return potential.evaluate(positions[None], None, types, backend="float").energy[0]

    assert energy(coord, [0, 1]) == energy(apart, [0, 1])
    assert energy(coord, [0, 0]) != energy(apart, [0, 0])

    from nvnmd.training.quantized.train import train_qnn

    with pytest.raises(InputError, match=r"exclude_types: got \[\[0, 1\]\], expected \[\] for a q"):
        train_qnn(config, folder, tmp_path / "qnn")
    assert not (tmp_path / "qnn").exists()
    plain = replace(config, descriptor=replace(config.descriptor, exclude_types=()))
    with pytest.raises(InputError, match=r"config\.npy: trained with exclude_types = \[\[0, 1\]\]"):
        train_qnn(plain, folder, tmp_path / "qnn")
    with pytest.raises(InputError, match=r"written with exclude_types = \[\[0, 1\]\], the input"):
        train(plain, tmp_path / "again", restart=folder / "model.ckpt-1.npz")
    for name, model in (("descriptor/exclude_types", {"descriptor": {"exclude_types": [[0, 1]]}}),
                        ("pair_exclude_types", {"pair_exclude_types": [[0, 1]]})):
        (folder / "train.json").write_text(json.dumps({"model": model}))
        with pytest.raises(ModelFileError, match=rf"train\.json: model/{name}"):
            import_model(folder)
