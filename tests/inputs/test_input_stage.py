"""The switches and files of a stage, and what contradicts itself."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

import pytest
from support.input_documents import BASE, parse, place

from nvnmd.errors import InputError
from nvnmd.inputs.read import for_stage

SWITCHES = ("restore_descriptor", "restore_fitting_net", "quantize_descriptor",
            "quantize_fitting_net")


def test_contradictions_between_the_two_forms():
    for path, value in (("nvnmd/sel", [60, 60]), ("nvnmd/type_map", ["Ge", "Te"])):
        document = copy.deepcopy(BASE)
        place(document, path, value)
        with pytest.raises(InputError, match=f"{path}: got a second value besides model/"):
            parse(document)
    document = copy.deepcopy(BASE)
    document["nvnmd"] |= {"quantize_descriptor": True, "restore_descriptor": False}
    with pytest.raises(InputError, match="nvnmd/restore_descriptor: got false, expected true, as "
                                         "nvnmd/quantize_descriptor is true"):
        parse(document)


@pytest.mark.parametrize(("keys", "line"), [
    ({"map_file": "a/map.bin"},
     'nvnmd/map_file: got "a/map.bin", expected the path of a .npy file, such as map.npy, or none'),
    ({"restore_descriptor": False, "restore_fitting_net": False, "weight_file": "a/weight.npy"},
     'nvnmd/weight_file: got "a/weight.npy", expected none, as nvnmd/restore_descriptor and '
     "nvnmd/restore_fitting_net are false"),
    ({"quantize_descriptor": True, "map_file": "none"},
     'nvnmd/map_file: got "none", expected the map.npy of train-cnn'),
    ({"restore_fitting_net": True, "weight_file": "none"},
     'nvnmd/weight_file: got "none", expected the weights to restore, as '
     "nvnmd/restore_fitting_net is true"),
    ({**dict.fromkeys(("quantize_descriptor", "quantize_fitting_net"), False),
      "restore_fitting_net": True},
     "nvnmd/weight_file: missing key, expected the weights to restore, as "
     "nvnmd/restore_fitting_net is true"),
    ({"quantize_descriptor": False, "map_file": "a/map.npy"},
     'nvnmd/map_file: got "a/map.npy", expected none, as nvnmd/quantize_descriptor is false'),
    ({**dict.fromkeys(("quantize_descriptor", "quantize_fitting_net"), False),
      "config_file": "a/c.npy"},
     'nvnmd/config_file: got "a/c.npy", expected a path that ends in config.npy'),
])
def test_files_that_do_not_fit(keys, line):
    document = copy.deepcopy(BASE)
    document["nvnmd"] |= keys
    with pytest.raises(InputError) as caught:
        parse(document)
    assert str(caught.value).startswith(f"in.json: {line}")


def test_the_document_s_stage_must_be_the_command_s():
    document = copy.deepcopy(BASE)
    document["nvnmd"] |= {"quantize_descriptor": True, "map_file": "run/map.npy"}
    config = parse(document)
    assert for_stage(config, "qnn").cnn_folder == "run"
    assert for_stage(config, "qnn", Path("run/")).normalized["nvnmd"]["map_file"] == "run/map.npy"
    with pytest.raises(InputError, match=r"quantize_descriptor: got true, expected false in train"):
        for_stage(config, "cnn")
    with pytest.raises(InputError, match=r"in\.json: nvnmd/map_file: got a file in run, expect"):
        for_stage(config, "qnn", "other")
    assert for_stage(parse(BASE), "cnn").cnn_folder == "nvnmd_cnn"
    document["nvnmd"] = BASE["nvnmd"] | dict.fromkeys(
        ("quantize_descriptor", "quantize_fitting_net"), False)
    with pytest.raises(InputError, match=r"quantize_descriptor: got false, expected true in train"):
        for_stage(parse(document), "qnn")


def outcome(values, command):
    """What becomes of the switches under a command: the switches of the run, or the message."""
    document = copy.deepcopy(BASE)
    document["nvnmd"] |= {name: value for name, value in zip(SWITCHES, values, strict=True)
                          if value is not None}
    if values[0] or values[1]:
        document["nvnmd"]["weight_file"] = "w/one.npy"
    try:
        run = for_stage(parse(document), command)
    except InputError as error:
        return str(error)
    # what is written back asks for the same again
    again = for_stage(parse(run.normalized), command)
    assert (again.switches, again.files) == (run.switches, run.files)
    assert again.normalized == run.normalized
    return tuple(vars(run.switches).values())


def test_every_combination_of_the_switches():
    for values in itertools.product((False, True), repeat=4):
        descriptor, _, table_lookup, fixed = values
        for command in ("cnn", "qnn"):
            found = outcome(values, command)
            if table_lookup and not descriptor:
                assert "nvnmd/restore_descriptor: got false, expected true, as nvnmd/quant" in found
            elif (command == "qnn") != (table_lookup or fixed):
                assert f"in train-{command}" in found and "nvnmd/quantize_" in found
            else:
                assert found == values
    # left out, a switch is the command's
    assert outcome((None, True, None, None), "cnn") == (False, True, False, False)
    assert outcome((None, None, None, False), "qnn") == (True, True, True, False)
    assert outcome((None, False, None, None), "qnn") == (True, False, True, True)
    assert "nvnmd/restore_descriptor: got false" in outcome((False, None, None, None), "qnn")


def test_files_of_a_stage():
    document = copy.deepcopy(BASE)
    document["nvnmd"] |= {"restore_descriptor": True, "config_file": "out/config.npy"}
    with pytest.raises(InputError, match="nvnmd/weight_file: missing key, expected the weights to "
                                         "restore, as nvnmd/restore_descriptor is true"):
        for_stage(parse(document), "cnn")
    document["nvnmd"]["weight_file"] = "in/old.npy"
    run = for_stage(parse(document), "cnn")
    assert run.cnn_folder == "out" and run.files.weight_file == "in/old.npy"
    assert for_stage(parse(document), "cnn", "other").files.config_file == "other/config.npy"
    document["nvnmd"] |= {"quantize_descriptor": True, "map_file": "tables/one.npy"}
    run = for_stage(parse(document), "qnn")
    assert vars(run.files) == {"config_file": "out/config.npy", "weight_file": "in/old.npy",
                               "map_file": "tables/one.npy"}
    # a quantized fitting net from the beginning needs no file at all
    document["nvnmd"] = BASE["nvnmd"] | {"restore_descriptor": False, "restore_fitting_net": False,
                                         "quantize_descriptor": False}
    assert set(vars(for_stage(parse(document), "qnn").files).values()) == {None}
