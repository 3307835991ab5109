"""The data of a training: systems with the labels that the loss needs, and their neighbours."""

from __future__ import annotations

from collections.abc import Sequence

from nvnmd.data.frame_pairs import NeighborCache
from nvnmd.data.plausible import implausible
from nvnmd.data.systems import System, load_systems
from nvnmd.inputs.config import RunConfig
from nvnmd.inputs.loss_terms import atom_labels, check_labels, required, with_coefficients
from nvnmd.neighbors.crowd import MOST_NEAR
from nvnmd.neighbors.slots import Overflow
from nvnmd.progress import Log

FEW_FRAMES = 40
"""Frames that are looked at before a training; `nvnmd check` looks at more."""


def load_data(
    config: RunConfig, paths: Sequence[str], overflow: Overflow, set_prefix: str = "set"
) -> tuple[list[System], NeighborCache]:
    """Read the systems of one part of the data."""
    loss = config.loss
    systems = load_systems(paths, config.type_map, require=required(loss), set_prefix=set_prefix,
                           atom_labels=atom_labels(loss))
    check_labels(loss, systems)
    systems = with_coefficients(loss, systems)
    dscp = config.descriptor
    cache = NeighborCache(
        systems, dscp.sel, dscp.rcut, config.type_map, overflow=overflow,
        shared=config.version == 1, exclude=dscp.exclude_types,
    )
    return systems, cache


def summary(systems: Sequence[System]) -> str:
    """Return a line that says how much data there is."""
    count = sum(system.part == 0 for system in systems)
    what = f"{count} systems"
    if count < len(systems):
        what += f" of {len(systems)} compositions"
    frames = sum(system.nframes for system in systems)
    sizes = sorted({system.natoms for system in systems})
    atoms = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return f"{what}, {frames} frames x {atoms} atoms"


def data_facts(systems: Sequence[System]) -> list[list[int]]:
    """Return what two workers' data must have in common: frames and atoms of each system."""
    return [[system.nframes, system.natoms] for system in systems]


def warn_dropped(cache: NeighborCache, log: Log) -> None:
    """Say so if neighbours were left out."""
    if cache.dropped:
        log(
            f"warning: {sum(cache.dropped.values())} neighbours beyond sel were dropped in "
            f"{len(cache.dropped)} frames"
        )


def warn_implausible(config: RunConfig, systems: Sequence[System], log: Log) -> None:
    """Say what data look like that are not in Å, eV and eV/Å; some frames are looked at."""
    dscp = config.descriptor
    # the search with these slots has been made: what is beyond them is told elsewhere
    slots = [MOST_NEAR] * len(dscp.sel)
    for line in implausible(systems, config.type_map, dscp.rcut, slots, most_frames=FEW_FRAMES):
        log(f"warning: {line}")
