"""The documents that this program reads: the input contract with what has been added to it.

The short form of NVNMD leaves `model` and the file keys of `nvnmd` out and gives `sel`, `rcut`,
`rcut_smth` and `type_map` in `nvnmd`; older documents name data in `training` itself,
and those of NVNMD's first release have no `version`, `max_nnei` and `type_map`. Newer versions of
DeePMD-kit have more keys (`nvnmd.inputs.later`).
"""

from __future__ import annotations

import copy
import functools
from typing import Any

from dargs import Argument

from nvnmd.inputs.contract import NO_DEFAULT, Entry, contract_sections, walk
from nvnmd.inputs.contract_parts import ABSENT, SEED, key
from nvnmd.inputs.later import add_later_keys
from nvnmd.inputs.policy import DESCRIPTOR, find_rule, table
from nvnmd.inputs.rule import Rule

# Keys that may be left out here although the contract asks for them
LEFT_OUT = ("model", DESCRIPTOR, "model[standard]/fitting_net",
            "training/numb_steps", "nvnmd/version", "nvnmd/max_nnei", "nvnmd/net_size",
            *(f"nvnmd/{name}_file" for name in ("map", "config", "weight")), "nvnmd/enable",
            *(f"nvnmd/{verb}_{part}" for verb in ("restore", "quantize")
              for part in ("descriptor", "fitting_net")))
# The type of a descriptor without the key `type`, by version
DESCRIPTOR_DEFAULT = {0: "se_e2_a", 1: "se_atten"}


def _short_form() -> list[Argument]:
    return [
        key("sel", [str, list[int], int], "Neighbour slots of each atom type, in the order of "
            'type_map; in version 1 one number for all. Or "auto" or "auto:FACTOR": the most that '
            "the training data hold, times FACTOR (1.1), made a multiple of 4.", ABSENT),
        key("rcut", float, "Cut-off radius in Å.", ABSENT),
        key("rcut_smth", float, "Distance in Å from which the switch fades neighbours out.",
            ABSENT),
        key("type_map", list[str], "Element names; their order numbers the types.", ABSENT),
        key("sub_version", int, "Arithmetic of version 1: 1, that of DeePMD-kit's releases, or 2, "
            "the vendor's newest.", ABSENT),
        key("tables", str, "Layout of the tables: vendor, octave or octave8.", "vendor"),
        key("device", str, 'What files of sub_version 2 are laid out for: "vu9p" or "vu13p".',
            ABSENT),
        key("seed", SEED, "Seed of both nets' initial parameters.", ABSENT),
    ]


def _old_places(training: Argument) -> list[Argument]:
    found = []
    for field in training.sub_fields["training_data"].sub_fields.values():
        default = ABSENT if field.name in ("systems", "batch_size") else field.default
        found.append(key(field.name, list(field.dtype), f"Of old, for training_data/{field.name}.",
                         default, alias=field.alias))
    return [*found, key("numb_test", int, "Frames that were tested on.", ABSENT)]


def sections() -> list[Argument]:
    """Every section of a document, `nvnmd` first."""
    by_name = {section.name: section for section in contract_sections()}
    add_later_keys(by_name)
    later = [by_name.pop(name) for name in ("optimizer", "validating")]
    nvnmd, training = by_name.pop("nvnmd"), by_name.pop("training")
    nvnmd.optional = False
    nvnmd.extend_subfields(_short_form())
    training.extend_subfields(_old_places(training))
    model = by_name.pop("model")
    found = [nvnmd, *by_name.values(), training, model, *later]
    for entry in walk(found):
        if entry.path in LEFT_OUT and entry.argument is not None:
            entry.argument.optional = True
    return found


@functools.cache
def document_tree() -> Argument:
    """The whole document; one tree, to be read only."""
    return Argument("input", dict, sections(), doc="An input document.")


def described_sections(version: int = 0) -> list[Argument]:
    """Every section, each description with what this program does with the key."""
    found, rules = sections(), table(version)
    for entry in walk(found):
        if entry.argument is not None:
            entry.argument.doc = meaning(entry, find_rule(rules, entry.path))
    return found


def meaning(entry: Entry, rule: Rule) -> str:
    """What a key is for, and what this program does with it."""
    if rule.kind == "refused":
        return f"{entry.doc} Refused: {rule.note}."
    if rule.kind == "only":
        return f"{entry.doc} Only {rule.expected}."
    return f"{entry.doc} {rule.note}".strip()


def dpgui_arguments() -> list[Argument]:
    """The sections, as DP-GUI asks for them through the entry point `dpgui`."""
    return described_sections()


def with_defaults(section: Argument, given: dict[str, Any]) -> dict[str, Any]:
    """A checked section with the contract's defaults for what it leaves out."""
    full = copy.deepcopy(given)
    fields = list(section.sub_fields.values())
    for variant in section.sub_variants.values():
        name = full.setdefault(variant.flag_name, variant.default_tag)
        chosen = variant.choice_dict[variant.choice_alias.get(name, name)]
        fields += chosen.sub_fields.values()
    for field in fields:
        if isinstance(full.get(field.name), dict):
            full[field.name] = with_defaults(field, full[field.name])
        elif field.name not in full:
            default = next(walk([field])).default
            if default is not NO_DEFAULT:
                full[field.name] = copy.deepcopy(default)
    return full
