"""Arrays in the data that a run takes nothing from: told, so that nobody thinks they count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from nvnmd.data.source import open_source
from nvnmd.data.system import COPIES, LABELS, REAL_TYPES
from nvnmd.errors import InputError
from nvnmd.inputs.config import LossConfig, TrainingConfig
from nvnmd.inputs.loss_terms import atom_labels

SHOWN = 6


def tell_unused(training: TrainingConfig, loss: LossConfig, source: str,
                warn: Callable[[str], None]) -> None:
    """Warn in one line of the arrays that nothing is read from.

    Energies, forces and virials are no such arrays, even where the loss has no term of them.

    Parameters
    ----------
    training, loss : TrainingConfig, LossConfig
        Whose data, and what the loss asks for.
    source : str
        The document's name, for the line.
    warn : callable
        Takes the line.
    """
    used = {"coord", "box", *LABELS, REAL_TYPES, COPIES, *atom_labels(loss)}
    used |= {f"atomic_{name.removeprefix('atom_')}" for name in used if name.startswith("atom_")}
    found: Counter[str] = Counter()
    for systems, prefix in ((training.systems, training.set_prefix),
                            (training.validation_systems, training.validation_set_prefix)):
        for system in dict.fromkeys(systems):
            try:
                data = open_source(system)
                arrays = {name.removesuffix(".npy") for part in data.sets(prefix)
                          for name in data.labels(part) if name.endswith(".npy")}
            except (InputError, OSError):
                # whatever is wrong there, reading the frames says it
                continue
            found.update(arrays - used)
    if not found:
        return
    names = [f"{name}.npy (in {count} systems)" if count > 1 else f"{name}.npy"
             for name, count in sorted(found.items())]
    more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
    warn(f"{source}: nothing is read from these arrays of the data: "
         f"{', '.join(names[:SHOWN] + more)}")
