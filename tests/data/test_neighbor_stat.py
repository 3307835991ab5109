"""Counting neighbours, and `sel` taken from the count."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from nvnmd.cli.main import main
from nvnmd.data.neighbor_stat import NeighborStat, auto_sel, neighbor_stat
from nvnmd.data.systems import load_system
from nvnmd.errors import InputError
from nvnmd.inputs.limits import auto_factor
from nvnmd.inputs.read import parse_document

# Rock salt: within 1.5 nearest distances an atom has 6 of the other type and 12 of its own
EDGE, RCUT = 3.0, 4.5


@pytest.fixture
def salt(tmp_path, monkeypatch):
    grid = np.array([(i, j, k) for i in range(4) for j in range(4) for k in range(4)])
    folder = tmp_path / "data" / "salt"
    (folder / "set.000").mkdir(parents=True)
    coord = np.stack([grid * EDGE, grid * EDGE * 1.2]).reshape(2, -1)
    box = np.stack([np.eye(3) * 4 * EDGE, np.eye(3) * 4 * EDGE * 1.2]).reshape(2, 9)
    np.save(folder / "set.000" / "coord.npy", coord)
    np.save(folder / "set.000" / "box.npy", box)
    (folder / "type.raw").write_text("\n".join(str(n) for n in grid.sum(axis=1) % 2))
    (folder / "type_map.raw").write_text("Na Cl")
    monkeypatch.chdir(tmp_path)
    return folder


def document(**section):
    return {"nvnmd": {"version": 0, "max_nnei": 128, "net_size": 128, "rcut": RCUT,
                      "type_map": ["Na", "Cl"], **section},
            "training": {"numb_steps": 1, "training_data": {"systems": "data"}}}


def test_counts_of_a_known_crystal(salt):
    systems = [load_system(salt, ["Na", "Cl"], require=())]
    found = neighbor_stat(systems, 2, RCUT)
    # the second frame is wider and has fewer
    assert found.most.tolist() == [12, 12] and found.most_in_all == 18
    assert found.nearest == pytest.approx(EDGE, rel=1e-12)
    # more than the slots that it begins with: a shell of 20 Å
    many = neighbor_stat(systems, 2, 20.0)
    points = np.array(np.meshgrid(*[np.arange(-7, 8)] * 3)).reshape(3, -1).T
    inside = ((points**2).sum(axis=1) * EDGE**2 < 20.0**2) & points.any(axis=1)
    own = inside & (points.sum(axis=1) % 2 == 0)
    assert many.most.tolist() == [max(own.sum(), (inside & ~own).sum())] * 2
    assert many.most_in_all == inside.sum() > 1024


@pytest.mark.parametrize(("counts", "factor", "expected"), [
    ([12, 12], 1.1, (16, 16)), ([20, 1], 1.0, (20, 4)), ([20, 0], 1.1, (24, 4)),
    ([40, 10], 1.1, (44, 12))])
def test_slots_for_a_count(counts, factor, expected):
    found = NeighborStat(most=np.array(counts), most_in_all=sum(counts), nearest=1.0)
    assert auto_sel(found, factor, 0) == expected
    (shared,) = auto_sel(found, factor, 1)
    assert shared % 4 == 0 and sum(counts) * factor <= shared + 1e-9 < sum(counts) * factor + 4


def test_factor():
    assert (auto_factor("auto"), auto_factor("auto:1.5")) == (1.1, 1.5)
    for text in ("auto:", "auto:0.9", "auto:inf", "car:2", "auto:nan"):
        with pytest.raises(ValueError):
            auto_factor(text)


def test_sel_from_the_data(salt):
    for sel, expected in (("auto", (16, 16)), ("auto:2", (24, 24))):
        config = parse_document(document(sel=sel), "in.json")
        assert config.descriptor.sel == expected
        # what is written back says the numbers
        assert config.normalized["model"]["descriptor"]["sel"] == list(expected)
        assert parse_document(copy.deepcopy(config.normalized), "in.json") == config
    # all types share the slots of version 1
    assert parse_document(document(sel="auto", version=1), "in.json").descriptor.sel == (20,)
    # a full form without sel has the contract's default
    full = document()
    full["model"] = {"descriptor": {"type": "se_e2_a"}}
    assert parse_document(full, "in.json").descriptor.sel == (16, 16)
    with pytest.raises(InputError, match=r"in.json: nvnmd/sel: got a sum of 240, expected at most"):
        parse_document(document(sel="auto:10"), "in.json")


def test_command(salt, tmp_path, capsys):
    assert main(["neighbor-stat", "-s", "data", "-r", str(RCUT), "-t", "Na", "Cl"]) == 0
    out = capsys.readouterr().out
    assert "smallest distance: 3.000000 Å" in out
    assert "most neighbours of each type: [12, 12], of any: 18" in out
    assert "version 0 [16, 16], version 1 [20]" in out
    assert main(["neighbor-stat", "-s", "nowhere", "-r", "4", "-t", "Na", "Cl"]) == 2
    assert main(["neighbor-stat", "-s", "data", "-r", "-4", "-t", "Na", "Cl"]) == 2
    (tmp_path / "in.json").write_text(json.dumps(document(sel="auto")))
    assert main(["check", "in.json"]) == 2
    assert "energy.npy: missing, the label energy is needed here" in capsys.readouterr().err
    part = salt / "set.000"
    coord = np.load(part / "coord.npy")
    np.save(part / "energy.npy", np.zeros(len(coord)))
    np.save(part / "force.npy", np.zeros_like(coord))
    assert main(["check", "in.json"]) == 0
