"""Simulated boards for tests: one small accelerator, one link with an echo, built once a run."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import numpy as np
from support.rtl_cases import small_model

from nvnmd.boards.client import Board
from nvnmd.boards.link.frames import Kind
from nvnmd.boards.link.session import Session
from nvnmd.boards.simulated import BoardProcess, board_program, echo_program
from nvnmd.evaluation.potential import Potential
from nvnmd.hdl.presets import DEFAULT, preset

SMALL = {"fold": 2, "fit_cols": 4}
# as `nvnmd.connect` and `nvnmd build` choose the rest, so that all take one simulator
small_config = partial(preset(DEFAULT).config, **SMALL)
ECHO_WORDS = 64


@cache
def potential() -> Potential:
    """A random model of reduced widths, two types."""
    return Potential(small_model(2))


@cache
def board_file() -> Path:
    """The program of a board with the accelerator of `potential`."""
    return board_program(small_config(potential().network))


@cache
def echo_file() -> Path:
    """The program of a board that sends every payload back."""
    return echo_program(ECHO_WORDS)


def board_on(transport, frame_words: int = 1 << 14, **options) -> Board:
    """A client of a board that runs, over any transport."""
    session = Session(transport, **({"patience": 10.0} | options))
    return Board(lambda _: session, session.close, small_config, session, frame_words)


def crystal(cells: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rock salt, rattled: coordinates (1, n, 3), cell (1, 3, 3), types."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 3)
    coord = 3.0 * grid + rng.normal(scale=0.1, size=grid.shape)
    return coord[None], np.eye(3)[None] * 3.0 * cells, grid.sum(axis=1) % 2


def echo(session: Session, payloads: list[bytes]) -> list[bytes]:
    """What comes back, in order."""
    return list(session.requests((Kind.ECHO, data) for data in payloads))


__all__ = ["SMALL", "BoardProcess", "board_file", "board_on", "crystal", "echo", "echo_file",
           "potential", "small_config"]
