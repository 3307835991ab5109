"""How many frames the normalisation is taken from, its bounds, and the file it is kept in."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.cnn_runs import data, make_config, train  # noqa: F401
from support.float_cases import RCUT, RCUT_SMTH, SEL
from support.float_systems import make_system

from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.errors import InputError
from nvnmd.inputs.config import StatisticsConfig
from nvnmd.network.statistics import collect_statistics
from nvnmd.npy_archive import digest_of
from nvnmd.training.statistics_file import sampled_frames, training_statistics


def cache_of(systems):
    return NeighborCache(systems, SEL, RCUT, ("Cu", "Au"))


def config_of(**changes):
    settings = {"statistics": StatisticsConfig(nbatch=1), "batch_size": (2, 1)}
    settings |= changes
    statistics = settings.pop("statistics")
    return replace(make_config(("a", "b"), **settings), statistics=statistics)


def statistics_of(config, systems):
    lines = []
    return training_statistics(config, cache_of(systems), lines.append), lines


def systems_of():
    return [make_system(5, energy=np.arange(5.0)), make_system(3, (2, 1, 1))]


def test_batches_that_the_normalisation_is_taken_from():
    systems = systems_of()
    chosen = sampled_frames(systems, (2, 1), 1, 3)
    assert [len(one) for one in chosen] == [2, 1]
    assert [len(one) for one in sampled_frames(systems, (2, 1), 2, 3)] == [4, 2]
    drawn = {tuple(sampled_frames(systems, (2, 1), 1, seed)[0]) for seed in range(9)}
    assert len(drawn) > 2
    every = sampled_frames(systems, (2, 1), 10, 3)
    assert [one.tolist() for one in every] == [[0, 1, 2, 3, 4], [0, 1, 2]]
    part = [replace(system, coord=system.coord[frames], box=system.box[frames],
                    energy=system.energy[frames])
            for system, frames in zip(systems, chosen, strict=True)]
    found, _ = statistics_of(config_of(), systems)
    of_part = collect_statistics(cache_of(part), RCUT_SMTH)
    of_all = collect_statistics(cache_of(systems), RCUT_SMTH)
    np.testing.assert_array_equal(found.davg, of_part.davg)
    np.testing.assert_array_equal(found.dstd, of_part.dstd)
    assert not np.array_equal(found.dstd, of_all.dstd)
    # nothing is left out where every frame counts
    np.testing.assert_array_equal(found.t_bias_atom_e, of_all.t_bias_atom_e)
    np.testing.assert_array_equal(found.largest_counts, of_all.largest_counts)
    assert found.min_nbor_dist == of_all.min_nbor_dist


def test_least_deviation_and_no_mean():
    systems = systems_of()
    plain, _ = statistics_of(config_of(), systems)
    least = float(np.median(plain.dstd))
    found, _ = statistics_of(config_of(statistics=StatisticsConfig(nbatch=1, protect=least)),
                             systems)
    np.testing.assert_array_equal(found.dstd, np.maximum(plain.dstd, least))
    config = config_of()
    config = replace(config, descriptor=replace(config.descriptor, set_davg_zero=True))
    found, _ = statistics_of(config, systems)
    np.testing.assert_array_equal(found.davg, np.zeros((2, 2)))
    np.testing.assert_array_equal(found.dstd, plain.dstd)
    assert plain.davg[:, 0].all()


def test_statistics_are_kept(tmp_path):
    systems = systems_of()
    file = tmp_path / "kept/stat.npz"
    config = config_of(stat_file=str(file))
    first, lines = statistics_of(config, systems)
    assert file.exists() and lines == [f"statistics: written to {file}"]
    # the second time no frame is looked at
    cache = cache_of(systems)
    cache.pairs = None
    again = training_statistics(config, cache, lines.append)
    assert lines[-1] == f"statistics: read from {file}"
    for name, value in vars(first).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    before = file.read_bytes()
    # a file of the format before
    with np.load(file) as stored:
        arrays = dict(stored)
    header = json.loads(str(arrays.pop("header")))
    header = {"format": "nvnmd-statistics-1", "settings": header["settings"],
              "data": header["data"]}
    np.savez(tmp_path / "old.npz", header=np.array(json.dumps(header)), **arrays)
    old, lines = statistics_of(config_of(stat_file=str(tmp_path / "old.npz")), systems)
    assert "read from" in lines[-1] and np.array_equal(old.davg, first.davg)
    # other data: what belongs to them is found anew
    others = [systems[0], make_system(3, (3, 1, 1))]
    mixed, lines = statistics_of(config, others)
    assert "of other data" in lines[0] and file.read_bytes() == before
    np.testing.assert_array_equal(mixed.davg, first.davg)
    np.testing.assert_array_equal(mixed.t_bias_atom_e, first.t_bias_atom_e)
    present = collect_statistics(cache_of(others), RCUT_SMTH)
    np.testing.assert_array_equal(mixed.largest_counts, present.largest_counts)
    for changed, name in ((replace(config, statistics=StatisticsConfig(nbatch=2)),
                           "data_stat_nbatch = 1, the input has 2"),
                          (replace(config, descriptor=replace(config.descriptor, rcut=4.5)),
                           "rcut = 4.6, the input has 4.5"),
                          (replace(config, descriptor=replace(config.descriptor,
                                                              exclude_types=((0, 1),))),
                           r"exclude_types = \[\], the input has \[\[0, 1\]\]"),
                          (replace(config, loss=replace(config.loss, enable_atom_ener_coeff=True)),
                           "enable_atom_ener_coeff = False, the input has True")):
        with pytest.raises(InputError, match=rf"stat\.npz: written with {name}"):
            statistics_of(changed, systems)
    for content in (b"", before[:400], b"something else"):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"stat\.npz: not a readable file of statistics"):
            statistics_of(config, systems)
        assert file.read_bytes() == content


def test_a_training_begins_with_kept_statistics(data, tmp_path):
    config = make_config(data, numb_steps=0, stat_file=str(tmp_path / "stat.npz"))
    first, _ = train(config, tmp_path / "one")
    arrays = dict(np.load(tmp_path / "stat.npz"))
    arrays["dstd"] = 2.0 * arrays["dstd"]
    header = json.loads(str(arrays.pop("header")))
    del header["digest"]
    header["digest"] = digest_of(header, arrays)
    np.savez(tmp_path / "stat.npz", header=np.array(json.dumps(header)), **arrays)
    second, lines = train(config, tmp_path / "two")
    np.testing.assert_array_equal(second.weights.dstd, 2.0 * first.weights.dstd)
    assert f"statistics: read from {tmp_path / 'stat.npz'}" in lines
