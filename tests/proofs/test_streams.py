"""What carries words loses, repeats and reorders none, under any stall."""

from __future__ import annotations

import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed")
pytest.importorskip("bitwuzla", reason="the solver is not installed (make proofs)")

from support.stream_cases import STREAMS
from support.stream_proofs import prove_stream

pytestmark = [pytest.mark.proof, pytest.mark.slow]


@pytest.mark.parametrize("name", STREAMS)
def test_words_come_out_as_they_went_in(name, tmp_path):
    verdict = prove_stream(STREAMS[name], tmp_path)
    print(f"{name}: depth {verdict.depth}, {verdict.seconds:.1f} s")
    assert verdict.passed, verdict.told


@pytest.mark.parametrize("name", STREAMS)
def test_planted_fault_is_found(name, tmp_path):
    assert not prove_stream(STREAMS[name], tmp_path, planted=True).passed
