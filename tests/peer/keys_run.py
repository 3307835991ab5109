"""Run by DeePMD-kit's Python: every key of its training input with its other names, as JSON."""

import json
import sys

from deepmd.utils import argcheck


def walk(argument, path):
    yield path, list(argument.alias)
    for name, field in argument.sub_fields.items():
        yield from walk(field, f"{path}/{name}")
    for variant in argument.sub_variants.values():
        for tag, choice in variant.choice_dict.items():
            yield from walk(choice, f"{path}[{tag}]")


SECTIONS = ("training", "learning_rate", "optimizer", "loss", "validating", "nvnmd")
sections = [getattr(argcheck, f"{name}_args")() for name in SECTIONS]
with open(f"{sys.argv[1]}/keys.json", "w") as file:
    json.dump([pair for one in sections for pair in walk(one, one.name)], file)
