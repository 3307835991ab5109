"""The search of the narrowest number formats."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from support.report_runs import make_run

from nvnmd.cli.main import main
from nvnmd.data.systems import load_systems
from nvnmd.errors import InputError
from nvnmd.evaluation.evaluate import errors_against_labels, evaluate_system
from nvnmd.evaluation.narrowing import NAMES, Price, narrow_search, price_of
from nvnmd.quantize.model import Model
from nvnmd.quantize.narrow import narrowed
from nvnmd.quantize.widths import LIMITS, VENDOR_WIDTHS, Widths


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model and frames that its continuous network labelled, 1 meV/Å off."""
    folder = tmp_path_factory.mktemp("widths") / "run"
    return folder, make_run(folder)


@pytest.fixture(scope="module")
def labelled(run):
    folder, model = run
    (system,) = load_systems([folder / "data/validation/made"], model.type_map)
    return system


def cheap(model: Model, widths: Widths) -> Price:
    """Something like a price, in no time: accelerators are elaborated elsewhere."""
    flt, data, weight, acc = widths.to_dict().values()
    return Price(multiplier_bits=100 * (10 * flt * flt + 5 * data * weight + acc),
                 memory_bits=100 * (100 * flt + 30 * weight + data))


@pytest.fixture(scope="module")
def found(run, labelled):
    return narrow_search(run[1], [(labelled, 3)], price=cheap)


def rise(model, labelled, widths):
    errors = [errors_against_labels(labelled, evaluate_system(m, labelled))["force"].rmse
              for m in (narrowed(model, widths), model)]
    return errors[0] / errors[1] - 1.0


def test_each_width_alone_is_the_least_that_passes(run, labelled, found):
    for name in NAMES:
        tried = found.alone[name]
        bits = [getattr(m.widths, name) for m in tried]
        assert bits == sorted(bits, reverse=True) and len(set(bits)) == len(bits)
        least = min([getattr(VENDOR_WIDTHS, name),
                     *(getattr(m.widths, name) for m in tried if m.rise <= 0.01)])
        for step, passes in ((0, True), (-1, False)):
            if least + step < LIMITS[name][0]:
                continue
            widths = replace(VENDOR_WIDTHS, **{name: least + step})
            if name == "acc_bits" and step:
                assert math.isinf(next(m.rise for m in tried if m.widths == widths))
            else:
                assert (rise(run[1], labelled, widths) <= 0.01) == passes, (name, least, step)


def test_the_best_passes_and_no_width_of_it_may_be_less(run, labelled, found):
    best = found.best
    assert rise(run[1], labelled, best.widths) == pytest.approx(best.rise) and best.rise <= 0.01
    assert best.widths.flt_frac < 20 and best.widths.data_bits < 27
    assert cheap(run[1], best.widths).share(cheap(run[1], VENDOR_WIDTHS)) < 0.9
    tried = {m.widths: m for m in (*found.together, *(m for t in found.alone.values() for m in t))}
    for name in NAMES:
        lower = getattr(best.widths, name) - 1
        if lower >= LIMITS[name][0]:
            assert tried[replace(best.widths, **{name: lower})].rise > 0.01


def test_a_wider_bound_is_cheaper_and_none_is_the_model_s_own(run, labelled, found):
    wider = narrow_search(run[1], [(labelled, 3)], bound=0.5, price=cheap).best.widths
    shares = [cheap(run[1], w).share(cheap(run[1], VENDOR_WIDTHS))
              for w in (wider, found.best.widths)]
    assert shares[0] < shares[1]


def test_prices_are_those_of_the_accelerator(run):
    _, model = run
    whole = price_of(model, VENDOR_WIDTHS)
    narrow = price_of(model, Widths(14, 22, 14, 32))
    assert narrow.multiplier_bits < 0.7 * whole.multiplier_bits
    assert narrow.memory_bits < 0.85 * whole.memory_bits


def test_without_forces(run, labelled):
    with pytest.raises(InputError, match=r"no system has labelled forces, expected a force\.npy"):
        narrow_search(run[1], [(replace(labelled, force=None), 3)], price=cheap)


def test_command(run, tmp_path, capsys, monkeypatch):
    folder, model = run
    monkeypatch.setattr("nvnmd.evaluation.narrowing.narrow_search.__kwdefaults__",
                        narrow_search.__kwdefaults__ | {"price": cheap})
    output = tmp_path / "narrow.nvnmd"
    argv = ["widths", str(folder / "nvnmd_qnn"), "-s", str(folder / "data")]
    assert main([*argv, "-o", str(output)]) == 0
    out = capsys.readouterr().out
    assert "cheapest within 1 %: flt_frac " in out and f"{output}: " in out
    assert main([*argv, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    narrow = Model.load(output)
    assert narrow.widths.to_dict() == document["best"]["widths"] != VENDOR_WIDTHS.to_dict()
    np.testing.assert_array_equal(narrow.table_g, narrowed(model, narrow.widths).table_g)
    assert document["best"]["rise"] <= 1.0 and document["whole"]["rise"] == 0.0
    for bad in ("-1", "x", "nan"):
        assert main([*argv, "--bound", bad]) == 2
        assert "expected a percentage of at least 0" in capsys.readouterr().err
