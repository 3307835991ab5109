"""`nvnmd compare` finds the stage, atom, neighbour and word in which evaluations part."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from support.exchange_models import random_run
from support.golden_checks import neighbours
from support.golden_data import load_fixture
from support.golden_systems import write_system
from support.rtl_cases import small_accelerator
from support.small_models import random_model, rattled_crystal

from nvnmd.cli.main import main
from nvnmd.deepmd.modelpb import write_modelpb
from nvnmd.errors import InputError
from nvnmd.evaluation.compare import compare_backends, compare_models
from nvnmd.hdl.host.image import build_image


@pytest.fixture(scope="module")
def run():
    return load_fixture(128)


@pytest.fixture(scope="module")
def near(run):
    return neighbours(run, run.frames[0])


def with_bit(model, name, at):
    """The model with the last bit of one table coefficient's word flipped."""
    table = getattr(model, name).copy()
    table[at] *= 1.0 + 2.0**-20
    return dataclasses.replace(model, **{name: table})


def test_a_model_equals_itself(run, near):
    outcome = compare_models(run.model, run.model, near)
    assert outcome.differing == 0 and outcome.first is None
    assert outcome.compared > 100 * near.mask.sum() and outcome.atoms == len(near.order)


def test_one_bit_of_a_table_is_named(run, near):
    """A coefficient of G that the third neighbour of one atom reads."""
    from nvnmd.quantize.reference import evaluate_atoms
    from nvnmd.quantize.table_lookup import locate

    model = run.model
    trace = evaluate_atoms(model, near.center_types, near.rij, near.mask)
    rows, _ = locate(trace.s, model.s_layout)
    kinds = near.neighbor_types
    atom, slot = 1, int(np.flatnonzero(near.mask[1])[2])
    other = with_bit(model, "table_g", (kinds[atom, slot], rows[atom, slot], 5, 3))
    users = (rows == rows[atom, slot]) & (kinds == kinds[atom, slot]) & near.mask
    first_atom, first_slot = (int(i) for i in np.argwhere(users)[0])
    outcome = compare_models(model, other, near)
    neighbour = int(near.mask[first_atom, :first_slot].sum())
    assert outcome.differing > 0
    assert outcome.first.startswith(
        f"first difference: stage g, atom {near.order[first_atom]}, neighbour {neighbour}, "
        "word 5: A ")


def test_fitting_bias_is_named(run, near):
    biases = list(run.model.fit_biases)
    biases[1] = biases[1].copy()
    biases[1][0, 7] += 2.0**-23
    other = dataclasses.replace(run.model, fit_biases=tuple(biases))
    first = np.flatnonzero(near.center_types == 0)[0]
    assert f"stage z, atom {near.order[first]}, word layer 1, 7: A " in compare_models(
        run.model, other, near).first


def test_models_of_other_sizes(run, near):
    with pytest.raises(InputError, match=r"rcut: A has .*, B has 5.0, expected the same"):
        compare_models(run.model, dataclasses.replace(run.model, rcut=5.0), near)


def test_backends(run, near, tmp_path):
    outcome = compare_backends(run.model, ("reference", "fixed"), near, tmp_path)
    assert outcome.differing == 0
    assert outcome.compared == len(near.order) + 4 * near.mask.sum()
    outcome = compare_backends(run.model, ("fixed", "float"), near, tmp_path)
    assert outcome.differing > 0 and "stage atom_energy, atom " in outcome.first
    with pytest.raises(InputError, match="got 'gpu', expected two of"):
        compare_backends(run.model, ("gpu", "fixed"), near, tmp_path)


def test_command(run, tmp_path, capsys):
    a, b = tmp_path / "a.nvnmd", tmp_path / "b.nvnmd"
    run.model.save(a)
    with_bit(run.model, "table_u", (0, slice(None), 0, 3)).save(b)
    system = write_system(tmp_path / "s", run)
    assert main(["compare", str(a), str(a), "-s", str(system)]) == 0
    assert " 0 differ" in capsys.readouterr().out
    assert main(["compare", str(a), str(b), "-s", str(system), "--frame", "1"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("compare: ") and lines[1].startswith(
        "first difference: stage s, atom 0, neighbour 0, word s: A ")
    assert main(["compare", str(a), "--backends", "reference,fixed", "-s", str(system)]) == 0


def test_modelpb_against_the_model_it_came_from(tmp_path, capsys):
    """Its weights are cut, as the first layer of the fitting net shows; names are the other's."""
    model = random_run(0, 128, 2)[0]
    model.save(tmp_path / "m.nvnmd")
    write_modelpb(tmp_path / "m.pb", model)
    system = write_system(tmp_path / "s", load_fixture(128))
    for pair in (("m.nvnmd", "m.pb"), ("m.pb", "m.nvnmd")):
        paths = [str(tmp_path / name) for name in pair]
        assert main(["compare", *paths, "-s", str(system), "--overflow", "truncate"]) == 1
        assert "first difference: stage z, atom 0, word layer 0, " in capsys.readouterr().out


@pytest.mark.slow
def test_hardware_that_holds_another_model(tmp_path, monkeypatch):
    """Nothing differs; then the load image has one bias changed, and its layer is named."""
    rng = np.random.default_rng(4)
    model = random_model(rng)
    hood = rattled_crystal(rng, model)
    monkeypatch.setattr("nvnmd.hdl.export.config_for", small_accelerator)
    outcome = compare_backends(model, ("fixed", "sim"), hood, tmp_path)
    assert outcome.differing == 0 and outcome.first is None
    assert outcome.compared == len(hood.order) + 4 * hood.mask.sum()
    biases = [b.copy() for b in model.fit_biases]
    biases[1][:, 5] += 2.0**-10
    other = dataclasses.replace(model, fit_biases=tuple(biases))
    monkeypatch.setattr("nvnmd.sim.accelerator.build_image", lambda _, cfg: build_image(other, cfg))
    outcome = compare_backends(model, ("fixed", "sim"), hood, tmp_path)
    assert outcome.differing > 0
    found = re.fullmatch(
        r"first difference: stage z, atom 0, word (\d+): reference (\S+) \((\w+)\), "
        r"RTL (\S+) \((\w+)\) \(atom (\d+) of the system\)", outcome.first)
    word, expected, expected_word, value, value_word, atom = found.groups()
    assert (int(word), int(atom)) == (model.width + 5, hood.order[0])
    assert float(value) - float(expected) == 2.0**-10
    assert (int(value_word, 16) - int(expected_word, 16)) % 2**32 == 2**13


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either a second model or --backends"),
        (["--backends", "fixed"], "expected two names"),
        (["--backends", "fixed,gpu"], "expected two of"),
        (["--backends", "fixed,float", "--frame", "9"], "--frame: got 9, expected 0 to 1"),
    ],
)
def test_mistakes(run, tmp_path, capsys, arguments, message):
    a = tmp_path / "a.nvnmd"
    run.model.save(a)
    system = write_system(tmp_path / "s", run)
    assert main(["compare", str(a), "-s", str(system), *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1
