"""Tests that a whole accelerator of either version passes."""

from __future__ import annotations

import pytest

from nvnmd.hdl.verify.taps import STAGES


class StageTests:
    """To be derived from where a fixture `proof` gives a `rtl_cases.Proof`."""

    def test_every_stage_agrees(self, proof, faulty):
        proof.check(faulty, "clean")

    @pytest.mark.parametrize("stage", STAGES)
    def test_a_fault_is_named(self, proof, faulty, stage):
        proof.check_fault(faulty, stage)

    def test_stalls(self, proof):
        proof.check_stalls()

    def test_resets_and_bad_loads(self, proof):
        proof.check_resets()
