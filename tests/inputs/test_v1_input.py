"""Input documents of version 1: one `sel`, up to 32 types, se_atten in the long form."""

from __future__ import annotations

import copy

import pytest

from nvnmd.errors import InputError
from nvnmd.inputs.read import parse_document

DOCUMENT = {
    "nvnmd": {"version": 1, "max_nnei": 128, "net_size": 128, "sel": 96, "rcut": 6.0,
              "rcut_smth": 0.5, "type_map": ["Ge", "Te"]},
    "training": {"seed": 7, "numb_steps": 20,
                 "training_data": {"systems": ["d/one"], "batch_size": [1]}},
}
NAMES = [f"X{k}" for k in range(33)]


def parse(section, **changes):
    document = copy.deepcopy(DOCUMENT)
    document[section].update(changes)
    return parse_document(document, "in.json", find_systems=False)


def test_sel_is_one_number():
    config = parse("nvnmd")
    assert (config.version, config.descriptor.sel, config.ntypes) == (1, (96,), 2)
    assert parse("nvnmd", sel=[96]).descriptor.sel == (96,)
    # of a number per type only the sum counts
    listed = parse("nvnmd", sel=[40, 56])
    assert listed.descriptor.sel == (96,) and listed == config
    assert listed.normalized["model"]["descriptor"]["sel"] == 96
    wide = parse("nvnmd", max_nnei=256, sel=256, type_map=NAMES[:32])
    assert (wide.max_nnei, wide.descriptor.sel, wide.ntypes) == (256, (256,), 32)


def test_long_form_reads_back():
    config = parse("nvnmd")
    descriptor = config.normalized["model"]["descriptor"]
    assert descriptor["sel"] == 96 and descriptor["type"] == "se_atten"
    assert descriptor["attn_layer"] == 0 and descriptor["tebd_input_mode"] == "strip"
    assert parse_document(config.normalized, "in.json", find_systems=False) == config


@pytest.mark.parametrize("section, changes, line", [
    ("nvnmd", {"sel": [48, 48, 4]}, "nvnmd/sel: got [48, 48, 4], expected one integer, the slots "
                                    "of all types, or one for each"),
    ("nvnmd", {"sel": [100, 40]}, "nvnmd/sel: got a sum of 140, expected at most"),
    ("nvnmd", {"sel": []}, "nvnmd/sel: got [], expected"),
    ("nvnmd", {"sel": [50, 0]}, "nvnmd/sel: got [50, 0], expected positive integers"),
    ("nvnmd", {"sel": 129}, "nvnmd/sel: got a sum of 129, expected at most nvnmd/max_nnei = 128"),
    ("nvnmd", {"type_map": NAMES},
     "nvnmd/type_map: got 33 types, expected at most 32 in version 1"),
])
def test_mistakes(section, changes, line):
    with pytest.raises(InputError) as caught:
        parse(section, **changes)
    assert str(caught.value).startswith(f"in.json: {line}")
