"""What DeePMD-kit's own reader finds in systems: `read_run.py TYPES SYSTEM... OUTPUT.npz`.

TYPES are the element names of the model, with commas. Every system gives, numbered, the types of
every frame's atoms, positions, cells, energies and forces in the order of its files.
"""

from __future__ import annotations

import sys

import numpy as np
from deepmd.utils.data import DeepmdData

names, *systems, output = sys.argv[1:]
found = {}
for number, system in enumerate(systems):
    data = DeepmdData(system, type_map=names.split(","), sort_atoms=False)
    data.add("energy", 1, must=True, high_prec=True)
    data.add("force", 3, atomic=True, must=True, high_prec=True)
    sets = [data._load_set(part) for part in data.dirs]
    for key in ("type", "coord", "box", "energy", "force"):
        found[f"{key}.{number}"] = np.concatenate([one[key] for one in sets])
np.savez(output, **found)
