"""How each key of the input contract is treated: honoured, accepted with one setting, or refused
by name.

The loader follows this table, and docs/input.md prints it. A key without a line of its own belongs
to a section or a choice that is refused as a whole.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from nvnmd.inputs.later import later_rules
from nvnmd.inputs.limits import DEVICES, LAYOUTS, SEED_LIMIT, SEL_LIMIT, is_seed, is_sel
from nvnmd.inputs.rule import RCUT, RCUT_SMTH, SECTION, Rule, honoured, only
from nvnmd.inputs.rules_model import DESCRIPTOR, model_rules
from nvnmd.inputs.rules_training import training_rules
from nvnmd.inputs.sizes import CAPACITIES, near_capacity

__all__ = ["DESCRIPTOR", "find_rule", "table"]

LEFT_OUT = "Left out: false in train-cnn, true in train-qnn."
QUANTIZED = "False in train-cnn; true or left out in train-qnn, where one of the two may be false."


def _nvnmd() -> dict[str, Rule]:
    return {
        "nvnmd": SECTION,
        "nvnmd/version": honoured("", lambda v: v in (0, 1), "0 or 1"),
        "nvnmd/max_nnei": honoured("32, 64, 128 or 256; the last two are the vendor's machines.",
                                   lambda v: v in CAPACITIES, near_capacity),
        "nvnmd/net_size": honoured("The last of neuron times axis_neuron, which it is if left "
                                   "out; 128 is the vendor's."),
        "nvnmd/tables": honoured(
            "Not a key of DeePMD-kit's. Octave tables are more accurate and half as large, and "
            "their forces are the gradient of the energy; the vendor's alone go to model.pb; see "
            "octave_tables.md. The same in train-cnn and train-qnn.",
            lambda v: v in LAYOUTS, '"vendor", "octave" or "octave8"'),
        "nvnmd/enable": only(True, why="false is the training of another program's model, which "
                                        "no hardware of NVNMD holds"),
        "nvnmd/config_file": honoured("train-cnn writes it, into the folder of its output; "
                                       "train-qnn reads it. Or none."),
        "nvnmd/weight_file": honoured("Read where something is restored; else none."),
        "nvnmd/map_file": honoured("Read where the descriptor is quantized; else none."),
        "nvnmd/restore_descriptor": honoured("With the statistics; both stay as they are. "
                                              + LEFT_OUT),
        "nvnmd/restore_fitting_net": honoured("With the energy of each type; the training begins "
                                               "there, else with weights drawn anew. " + LEFT_OUT),
        "nvnmd/quantize_descriptor": honoured("With the tables of map_file; needs "
                                               "restore_descriptor. " + QUANTIZED),
        "nvnmd/quantize_fitting_net": honoured(QUANTIZED),
        "nvnmd/sel": honoured("Here or in model/descriptor; the sum is at most max_nnei, and in "
                               "version 1 it is all that counts.",
                               is_sel, SEL_LIMIT),
        "nvnmd/rcut": RCUT, "nvnmd/rcut_smth": RCUT_SMTH,
        "nvnmd/sub_version": honoured("Default 1; 2 in version 1 only.", lambda v: v in (1, 2),
                                      "1 or 2"),
        "nvnmd/device": honoured("Default vu9p; in sub_version 2 only.",
                                 lambda v: v in DEVICES, '"vu9p" or "vu13p"'),
        "nvnmd/seed": honoured("A key of the vendor's newest programs. Not beside a seed in model; "
                               "training/seed if in neither.", is_seed, SEED_LIMIT),
        "nvnmd/type_map": honoured("Here or in model.", lambda v: len(v) > 0,
                                    "at least one element name"),
    }


@functools.cache
def table(version: int = 0, sub_version: int = 1) -> dict[str, Rule]:
    """Return the rules of a version: contract path -> rule; one table, to be read only."""
    return {**_nvnmd(), **training_rules(), **model_rules(version, sub_version),
            **later_rules(version)}


def find_rule(rules: Mapping[str, Rule], path: str) -> Rule:
    """Return the rule of a key: its own, or that of the refused section or choice it is in.

    Raises
    ------
    KeyError
        The table says nothing of it.
    """
    if path in rules:
        return rules[path]
    parts = re.findall(r"/?[^/\[]+|\[\w+\]", path)
    for end in range(len(parts) - 1, 0, -1):
        above = rules.get("".join(parts[:end]))
        if above is not None and above.kind == "refused":
            return above
    raise KeyError(path)
