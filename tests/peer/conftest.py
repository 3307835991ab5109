"""Runs of DeePMD-kit that several tests look at; each is made once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from peer_env import peer_python

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def made_by(tmp_path_factory) -> Callable[..., Path]:
    """A function that runs a script of this folder, whose last argument is the folder it fills."""
    done: dict[tuple[str, ...], Path] = {}

    def folder(script: str, *arguments: str, after: tuple[str, ...] = ()) -> Path:
        key = (script, *arguments, *after)
        if key not in done:
            path = tmp_path_factory.mktemp("-".join(arguments) or script)
            command = [peer_python(), str(HERE / script), *arguments, str(path), *after]
            ended = subprocess.run(command, capture_output=True, text=True)
            assert ended.returncode == 0, ended.stderr[-3000:]
            done[key] = path
        return done[key]

    return folder


@pytest.fixture(scope="session")
def reference(made_by) -> Callable[[int, int, int], Path]:
    """The run of reference_run.py for a version, a capacity and a number of types."""
    return lambda *numbers: made_by("reference_run.py", *map(str, numbers))
