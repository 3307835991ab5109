"""The error of tables: small where tables are, and found where one is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.small_models import random_model
from support.sub2_models import switched_model
from support.type_models import type_config, type_weights

from nvnmd.deepmd.tables import tables_of_weights
from nvnmd.errors import ModelFileError
from nvnmd.mapping.freeze import freeze_model
from nvnmd.mapping.other_layout import nearest_warning, slope_error, with_layout
from nvnmd.mapping.table_error import s_limits, table_errors

BOUNDS = {"s": 1e-4, "h": 1e-4, "k": 1e-4, "ds/du": 1e-4, "dh/du": 1e-4, "dk/du": 1e-4,
          "G": 1e-5, "dG/ds": 1e-5}


def model_of_version_1(rng):
    """A frozen model of three types that share their tables."""
    weights = type_weights(rng)
    return freeze_model(weights, tables_of_weights(weights, 4.0, 1.0), type_config())


@pytest.mark.parametrize("build", [random_model, model_of_version_1, switched_model])
def test_errors_are_those_of_cubics(build):
    model = build(np.random.default_rng(8))
    found = {error.name: error for error in table_errors(model, 2.0)}
    assert list(found) == [name for name in BOUNDS
                           if "k" not in name or build is switched_model]
    for name, error in found.items():
        bound = BOUNDS[name]
        assert 0.0 < error.rms <= error.largest < bound, name
        assert error.largest == error.error[error.x == error.where]
    low, high = s_limits(model, 2.0)
    assert found["s"].x[0] == 4.0 and found["s"].x[-1] == model.rcut**2
    assert low <= found["G"].x[0] and found["G"].x[-1] <= high
    # shorter bonds meet steeper functions
    assert table_errors(model, 0.8)[0].largest > 10 * found["s"].largest


def test_a_wrong_row_is_found():
    model = random_model(np.random.default_rng(8))
    table = model.table_u.copy()
    # constant term of s, row from u = 9
    table[1, 72, 0, 3] += 0.25
    error = table_errors(replace(model, table_u=table), 2.0)[0]
    assert error.largest == pytest.approx(0.25, abs=1e-4) and 9.0 <= error.where <= 9.125


def test_a_model_without_a_float_network_is_refused():
    model = replace(random_model(np.random.default_rng(8)), embedding=())
    with pytest.raises(ModelFileError, match="no continuous network"):
        table_errors(model)


def test_warning_at_the_smallest_distance():
    """The vendor's rows are too wide below 0.95 Å; octaves are not."""
    for distance in (0.7, 0.8, 0.9):
        said = nearest_warning("vendor", 6.0, 0.5, distance)
        assert said is not None and f"{distance:.3f} Å" in said and "octave: " in said
        assert "octave: " not in (nearest_warning("vendor", 6.0, 0.5, distance, octave=False) or "")
    for name, distance in (("vendor", 1.0), ("vendor", 2.5), ("octave", 0.7), ("octave8", 0.7),
                           ("vendor", 7.0), ("vendor", float("inf"))):
        assert nearest_warning(name, 6.0, 0.5, distance) is None
    assert slope_error("vendor", 6.0, 0.5, 0.75) > 100 * slope_error("octave", 6.0, 0.5, 0.75)


def test_the_other_layout_and_back():
    model = random_model(np.random.default_rng(3))
    octave = with_layout(model, "octave", 1.7)
    assert octave.tables == "octave" and octave.round_descriptor
    again = with_layout(octave, "vendor", 1.7)
    for name in ("table_u", "table_u_grad", "table_g", "table_g_grad"):
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))
    assert again.digest == model.digest and with_layout(model, "vendor", 1.7) is model
