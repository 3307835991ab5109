"""Version 1, SUB_VERSION 2: evaluation and comparison in the graph's and in the machine's words."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.sub2_models import switched_model, wide_switched
from support.type_models import NAMES, rattled, write_system

from nvnmd.cli.main import main
from nvnmd.deepmd.modelpb import write_modelpb
from nvnmd.errors import InputError
from nvnmd.evaluation.backends import make_evaluator
from nvnmd.evaluation.compare import compare_backends, compare_models
from nvnmd.evaluation.potential import Potential
from nvnmd.evaluation.weight_cut import measure_weight_cut
from nvnmd.neighbors.slots import build_neighborhood


@pytest.fixture(scope="module")
def model():
    return switched_model(np.random.default_rng(8), 3)


@pytest.fixture(scope="module")
def cell():
    return rattled(np.random.default_rng(9), [0, 1, 2, 0, 1, 2, 1, 0])


def hood_of(model, cell):
    return build_neighborhood(cell.coord, cell.box, cell.types, model.sel, model.rcut,
                              ntypes=model.ntypes)


def test_modes_of_a_potential(model, cell, tmp_path):
    potential = Potential(model)
    frame = cell.coord[None], cell.box[None], cell.types
    graph, machine = (potential.evaluate(*frame, mode=mode) for mode in ("graph", "machine"))
    np.testing.assert_array_equal(potential.evaluate(*frame).force, graph.force)
    assert 0 < np.abs(graph.force - machine.force).max() < 1e-4
    floating = potential.evaluate(*frame, backend="float")
    assert np.abs(floating.force - graph.force).max() < 2e-3
    with pytest.raises(InputError, match="sim, which is a machine"):
        make_evaluator(model, "sim", tmp_path, "graph")


def test_comparisons_say_their_mode(model, cell, tmp_path):
    hood = hood_of(model, cell)
    same = compare_backends(model, ("reference", "fixed"), hood, tmp_path)
    assert same.differing == 0
    (note,) = same.notes
    assert note.startswith("mode: the graph's words; the machine's differ") and "expected" in note
    machine = compare_backends(model, ("reference", "fixed"), hood, tmp_path, "machine")
    assert machine.differing == 0 and machine.notes[0].startswith("mode: the machine's words")
    with pytest.raises(InputError, match="graph with the backend sim"):
        compare_backends(model, ("fixed", "sim"), hood, tmp_path, "graph")
    bare = dataclasses.replace(model, davg=np.zeros((0, 2)), dstd=np.zeros((0, 2)), embedding=())
    both = compare_models(model, bare, hood)
    assert both.differing == 0 and both.notes == ("both models in the machine's words",)
    assert compare_models(model, model, hood).notes == ("both models in the graph's words",)
    assert "no others" in compare_backends(bare, ("reference", "fixed"), hood, tmp_path).notes[0]
    # k and its slopes are among the stages
    more = compare_models(model, model, hood).compared
    filled = int(hood.mask.sum())
    plain = dataclasses.replace(model, table_u=model.table_u * 1.0)
    assert compare_models(plain, model, hood).compared == more > 3 * filled


def test_commands(model, cell, tmp_path, capsys):
    """`test` and `compare` with --mode; a model.pb has one mode."""
    from support.type_models import type_weights

    write_system(tmp_path / "data", type_weights(np.random.default_rng(1)), [cell])
    model.save(tmp_path / "m.nvnmd")
    file, data = str(tmp_path / "m.nvnmd"), str(tmp_path / "data")
    shown = []
    for mode in ("graph", "machine"):
        assert main(["test", "-m", file, "-s", data, "--mode", mode, "-d",
                     str(tmp_path / mode)]) == 0
        shown.append(np.loadtxt(tmp_path / f"{mode}.f.out"))
    assert 0 < np.abs(shown[0] - shown[1]).max() < 1e-4
    capsys.readouterr()
    assert main(["compare", file, "-s", data, "--backends", "reference,fixed"]) == 0
    out = capsys.readouterr().out
    assert "0 differ" in out and "mode: the graph's words" in out
    assert main(["compare", file, file, "-s", data, "--mode", "machine"]) == 0
    assert "both models in the machine's words" in capsys.readouterr().out
    assert main(["info", file]) == 0
    assert NAMES[0] in capsys.readouterr().out


def test_weights_of_a_file(tmp_path):
    """What the 16 bits of `model.pb` cost is measured in one mode, so it is the weights alone."""
    model = wide_switched()
    write_modelpb(tmp_path / "model.pb", model)
    found = measure_weight_cut(model)
    assert 0 < found.force_max < 1e-2
