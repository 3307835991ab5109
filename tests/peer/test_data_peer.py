"""Beside DeePMD-kit itself: what its reader finds in systems that `convert` wrote. Seconds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from peer_env import peer_python
from support.mixed_data import write_mixed

from nvnmd.data.convert import convert
from nvnmd.data.systems import load_groups

pytestmark = pytest.mark.peer

NAMES = ("Ag", "Au", "Cu")


@pytest.fixture(scope="module")
def systems(tmp_path_factory) -> list[str]:
    """One mixed system as it was, and converted: mixed, in HDF5, and as folders."""
    root = tmp_path_factory.mktemp("read")
    begin = write_mixed(root / "begin")
    found = [str(begin)]
    for target, output in (("deepmd/npy/mixed", "mixed"), ("deepmd/hdf5", "all.hdf5"),
                           ("deepmd/npy", "folders")):
        done = convert([begin], root / output, source="deepmd/npy/mixed", target=target)
        assert done.frames == 4
        found += [str(system) for system in done.systems]
    return found


def test_same_frames(systems, tmp_path):
    output = tmp_path / "found.npz"
    script = Path(__file__).with_name("read_run.py")
    command = [peer_python(), str(script), ",".join(NAMES), *systems, str(output)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    found, frames = np.load(output), 0
    for number, system in enumerate(systems):
        theirs = {key: found[f"{key}.{number}"] for key in ("type", "coord", "box", "energy",
                                                            "force")}
        for group in load_groups(system, NAMES):
            for k in range(group.nframes):
                frame = group.number(k)
                kinds = theirs["type"][frame]
                coord, force = (theirs[key][frame].reshape(-1, 3) for key in ("coord", "force"))
                here = np.flatnonzero(kinds >= 0)
                order = np.arange(group.natoms) if group.atoms is None else group.atoms[k]
                assert sorted(order) == here.tolist()
                np.testing.assert_array_equal(kinds[order], group.types)
                np.testing.assert_allclose(coord[order], group.coord[k], rtol=0, atol=1e-12)
                np.testing.assert_allclose(force[order], group.force[k], rtol=0, atol=1e-12)
                np.testing.assert_array_equal(theirs["box"][frame].reshape(3, 3), group.box[k])
                assert theirs["energy"][frame] == group.energy[k]
                frames += 1
    assert frames == 16
