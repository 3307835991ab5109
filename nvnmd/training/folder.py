"""The output folder of a training: whose it is while it runs, and what an earlier run left there.

A folder holds one training; `nvnmd.folder_lock` keeps a second process out while it runs. A
finished or half-finished training is continued, or replaced, or left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from nvnmd.errors import InputError
from nvnmd.folder_lock import check_unlocked, locked
from nvnmd.progress import Log
from nvnmd.training.checkpoint import POINTER, checkpoint_files
from nvnmd.training.setup import LoopSetup

LOCK = "train.lock"
# what a training writes beside its checkpoints and its learning curve
RESULTS = ("train.json", "weights.npz", "weight.npy", "config.npy", "map.npy", "model.nvnmd")
# the name of a file while it is written, see `nvnmd.atomic_file`
_HALF = re.compile(r"\.(.+)\.[a-z0-9_]{6,12}")


def check_folder(setup: LoopSetup) -> None:
    """Raise InputError where a training must not write; touch nothing.

    That is where another one runs, or has left its files and `setup` neither continues nor replaces
    it.
    """
    check_unlocked(setup.folder / LOCK)
    _check_left(setup)


@contextmanager
def claimed(setup: LoopSetup, log: Log) -> Iterator[None]:
    """Have the folder, made if missing, for a training.

    Files that a killed run left half written are removed; and all of an earlier training's where
    `setup` replaces it.

    Raises
    ------
    InputError
        Another training runs there, or left its files meanwhile.
    """
    setup.folder.mkdir(parents=True, exist_ok=True)
    with locked(setup.folder / LOCK, log):
        _check_left(setup)
        for path in list(setup.folder.iterdir()):
            half = _HALF.fullmatch(path.name)
            if half and _of_training(setup, half[1]):
                path.unlink()
            elif setup.replaces and not setup.continues_here and _of_training(setup, path.name):
                path.unlink()
        yield


def _check_left(setup: LoopSetup) -> None:
    """Raise InputError where an earlier training left files that nobody asked to go on with."""
    if setup.replaces or setup.continues_here or not setup.folder.is_dir():
        return
    if not any(_of_training(setup, path.name) for path in setup.folder.iterdir()):
        return
    steps = checkpoint_files(setup.folder, setup.checkpoint_name)
    choice = "replace it with --force, or choose another folder with -o"
    if steps:
        raise InputError(
            f"{setup.folder}: holds a training (newest checkpoint: {max(steps)[1].name}); continue "
            f"it with --restart {setup.newest}, {choice}")
    raise InputError(f"{setup.folder}: holds files of a training without a checkpoint; {choice}")


def _of_training(setup: LoopSetup, name: str) -> bool:
    """Whether a training writes a file of this name."""
    checkpoint = re.fullmatch(re.escape(setup.checkpoint_name) + r"-\d+\.npz", name)
    return bool(checkpoint) or name in (setup.curve_file, POINTER, *RESULTS)
