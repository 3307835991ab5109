"""Narrower formats: the same code gives the reference's words, files keep them, others refuse."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from quantize.test_fast import check_equal, check_near
from support.random_type_models import random_type_model
from support.sized_models import sized_model
from support.small_models import random_model, rattled_crystal

from nvnmd.deepmd.modelpb import encode_model
from nvnmd.errors import InputError, ModelFileError, RangeError
from nvnmd.evaluation.half_quantized import STAGES, HalfQuantized
from nvnmd.hdl.export import config_for
from nvnmd.hdl.host.image import build_image, check_fits
from nvnmd.quantize.compiled.model import evaluator
from nvnmd.quantize.model import Model
from nvnmd.quantize.narrow import narrowed
from nvnmd.quantize.reference import evaluate_atoms
from nvnmd.quantize.widths import LIMITS, VENDOR_WIDTHS, Widths

NARROW = [Widths(flt_frac=14), Widths(data_bits=22), Widths(weight_bits=13), Widths(acc_bits=33),
          Widths(13, 20, 12, 32), Widths(*(low for low, _ in LIMITS.values()))]


@pytest.mark.parametrize("widths", NARROW)
@pytest.mark.parametrize("kind", ["version 0", "version 1", "octave"])
def test_compiled_words(kind, widths):
    rng = np.random.default_rng(4)
    if kind == "version 1":
        model = narrowed(random_type_model(rng, 3), widths)
        shape = (40, model.nnei)
        check_equal(model, rng.integers(0, 3, shape[0]), rng.normal(scale=2.0, size=(*shape, 3)),
                    rng.random(shape) < 0.3, rng.integers(0, 3, shape))
        return
    octave = kind == "octave"
    made = sized_model(8, 2, 2, 32, tables="octave") if octave else random_model(rng, 2)
    check_near(narrowed(made, widths), rattled_crystal(rng, made, 3))


def test_each_width_is_used():
    """Each one alone changes words, on its own grid, and less by more bits."""
    model = random_model(np.random.default_rng(4), 2)
    near = rattled_crystal(np.random.default_rng(5), model, 3)
    arguments = near.center_types, near.rij, near.mask, near.neighbor_types
    whole = evaluate_atoms(model, *arguments)
    for name, grids in (("flt_frac", (18, 12)), ("data_bits", (24, 18)), ("weight_bits", (18, 12))):
        errors = []
        for bits in grids:
            widths = replace(VENDOR_WIDTHS, **{name: bits})
            trace = evaluate_atoms(narrowed(model, widths), *arguments)
            errors.append(np.abs(trace.deriv - whole.deriv)[near.mask].max())
            for values in (trace.d, trace.z, trace.out, trace.dd):
                scaled = values * 2.0**widths.fix_frac
                np.testing.assert_array_equal(scaled, np.round(scaled))
            mantissa = np.frexp(trace.deriv)[0] * 2.0 ** (widths.flt_frac + 1)
            np.testing.assert_array_equal(mantissa, np.round(mantissa))
        assert 0.0 < 8.0 * errors[0] < errors[1] < 1.0, name


def test_a_narrow_accumulator_is_left():
    model = random_model(np.random.default_rng(4), 2)
    near = rattled_crystal(np.random.default_rng(5), model, 3)
    largest = np.abs(evaluate_atoms(model, near.center_types, near.rij, near.mask).gr).max()
    assert largest * model.nix > 1.0
    # 24 bits, 23 of them fraction
    narrow = narrowed(model, Widths(acc_bits=24))
    for evaluate in (evaluator(narrow), lambda n: evaluate_atoms(
            narrow, n.center_types, n.rij, n.mask)):
        with pytest.raises(RangeError, match=r"GR accumulator .* leaves its format of 24 bits"):
            evaluate(near)


def test_files(tmp_path):
    model = random_model(np.random.default_rng(4), 2)
    narrow = narrowed(model, Widths(13, 20, 12, 32))
    path = tmp_path / "model.nvnmd"
    narrow.save(path)
    again = Model.load(path)
    assert again.widths == narrow.widths and again.digest == narrow.digest != model.digest
    np.testing.assert_array_equal(again.table_g, narrow.table_g)

    def altered(**changes) -> str:
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        document = json.loads(entries["header.json"])
        document["model"]["widths"] |= changes
        entries["header.json"] = json.dumps(document).encode()
        other = tmp_path / "other.nvnmd"
        with zipfile.ZipFile(other, "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, data)
        with pytest.raises(ModelFileError) as caught:
            Model.load(other)
        return str(caught.value)

    assert "digest does not match" in altered(acc_bits=33)
    # a file that says it of itself
    model = replace(narrow, table_g=model.table_g)
    model.save(path)
    with pytest.raises(ModelFileError, match="table_g has more than 13 fraction bits"):
        Model.load(path)


def test_files_of_earlier_formats(tmp_path):
    """A header without widths is the vendor's, with the digest that it had."""
    model = random_model(np.random.default_rng(4), 2)
    path = tmp_path / "model.nvnmd"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(entries["header.json"])
    assert document["format"] == 3 and "widths" not in document["model"]
    for number in (1, 2):
        document["format"] = number
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in (entries | {"header.json": json.dumps(document).encode()}).items():
                archive.writestr(name, data)
        assert Model.load(path).widths == VENDOR_WIDTHS
        assert Model.load(path).digest == model.digest


@pytest.mark.parametrize("name", LIMITS)
def test_bounds(name):
    for bits in (LIMITS[name][0] - 1, LIMITS[name][1] + 1, 12.5, True, "16"):
        with pytest.raises(ValueError, match=f"{name} is {bits!r}, expected {LIMITS[name][0]} to"):
            Widths(**{name: bits})
    model = narrowed(random_model(np.random.default_rng(4), 1), Widths(12, 18, 10, 30))
    with pytest.raises(ValueError, match=f"{name} is .*, expected at most the model's"):
        narrowed(model, replace(model.widths, **{name: getattr(model.widths, name) + 1}))


def test_the_accelerator_has_the_model_s():
    model = narrowed(random_model(np.random.default_rng(4), 2), Widths(13, 20, 12, 32))
    cfg = config_for(model)
    assert (cfg.frac, cfg.data_bits, cfg.fix_frac, cfg.weight_bits, cfg.acc_bits) == (
        13, 20, 16, 12, 32)
    image = build_image(model, cfg)
    assert len(image) == len(build_image(random_model(np.random.default_rng(4), 2),
                                         config_for(random_model(np.random.default_rng(4), 2))))
    with pytest.raises(InputError, match="frac is 13, the accelerator is built for 14"):
        check_fits(model, replace(cfg, frac=14))


def test_who_refuses_narrower_ones():
    model = narrowed(sized_model(32, 4, 3, 128), Widths(flt_frac=16))
    with pytest.raises(InputError, match=r"model\.pb holds words of the vendor's widths"):
        encode_model(model)
    with pytest.raises(InputError, match="the vendor's widths alone"):
        HalfQuantized(model, STAGES)
