"""Arithmetic units are their integer definitions for every input; a planted fault is found."""

from __future__ import annotations

import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed")
pytest.importorskip("bitwuzla", reason="the solver is not installed (make proofs)")

from support.arithmetic_proofs import SUBJECTS
from support.proofs import prove

pytestmark = [pytest.mark.proof, pytest.mark.slow]


@pytest.mark.parametrize("name", SUBJECTS)
def test_unit_is_its_definition(name, tmp_path):
    verdict = prove(SUBJECTS[name], tmp_path)
    print(f"{name}: depth {verdict.depth}, {verdict.seconds:.1f} s")
    assert verdict.passed, verdict.told


@pytest.mark.parametrize("name", SUBJECTS)
def test_planted_fault_is_found(name, tmp_path):
    assert not prove(SUBJECTS[name], tmp_path, planted=True).passed
