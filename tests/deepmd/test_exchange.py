"""Run folders of DeePMD-kit in and out: nothing that they hold is lost, damage is one line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from support.exchange_models import CASES, NAMES, random_run, wide_model
from support.file_checks import OTHER_FILES, STAGE_FILES, same

from nvnmd.cli.main import main
from nvnmd.deepmd.export import export_deepmd
from nvnmd.deepmd.extras import model_tables, stage_weights
from nvnmd.deepmd.files import read_dict, write_dict
from nvnmd.deepmd.importer import import_model
from nvnmd.deepmd.modelpb import decode_model, encode_model, write_modelpb
from nvnmd.errors import InputError, ModelFileError
from nvnmd.evaluation.evaluate import evaluate_system
from nvnmd.evaluation.weight_cut import crystal, measure_weight_cut
from nvnmd.quantize.model import Model
from nvnmd.quantize.model_parts import arrays_of, header_of

GOLDEN = ("v0_ni128_gete", "v1_ni128_gete")




def same_model(one: Model, two: Model) -> None:
    """Everything but what is told of the models' origin."""
    drop = ("origin", "config")
    assert {k: v for k, v in header_of(one).items() if k not in drop} == {
        k: v for k, v in header_of(two).items() if k not in drop
    }
    ours, theirs = arrays_of(one), arrays_of(two)
    for name in ours:
        if not name.startswith("extra."):
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.fixture
def run(tmp_path):
    """A run folder of version 0 made by export."""
    model = random_run(0, 128, 2)[0]
    export_deepmd(model, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.shared
@pytest.mark.parametrize("name", GOLDEN)
def test_deepmd_kits_folder_comes_back(shared, name, tmp_path):
    """Through the model file: every key, type and bit, model.pb and the input documents."""
    source = shared / "golden" / name
    assert main(["import", str(source), "-o", str(tmp_path / "m.nvnmd")]) == 0
    model = Model.load(tmp_path / "m.nvnmd")
    assert model.origin["format"] == "deepmd"
    written = export_deepmd(model, tmp_path / "run")
    names = [str(path.relative_to(tmp_path / "run")) for path in written]
    assert sorted(names) == sorted([*STAGE_FILES, *OTHER_FILES])
    for file in STAGE_FILES:
        same(read_dict(source / file), read_dict(tmp_path / "run" / file), file)
    for file in OTHER_FILES[:2]:
        assert json.loads((source / file).read_text()) == json.loads(
            (tmp_path / "run" / file).read_text()
        )
    assert (source / OTHER_FILES[2]).read_bytes() == (
        tmp_path / "run" / OTHER_FILES[2]
    ).read_bytes()
    assert import_model(tmp_path / "run").digest == model.digest


@pytest.mark.shared
@pytest.mark.parametrize("name", GOLDEN)
def test_the_three_files(shared, name, tmp_path):
    """The float stage's folder is a model too; so are its map and the quantized weights."""
    source = shared / "golden" / name
    whole = import_model(source)
    first = import_model(source / "nvnmd_cnn")
    np.testing.assert_array_equal(first.table_g, whole.table_g)
    assert first.embedding and not np.array_equal(first.fit_weights[0], whole.fit_weights[0])
    for file in ("nvnmd_cnn/map.npy", "nvnmd_qnn/config.npy", "nvnmd_qnn/weight.npy"):
        shutil.copy(source / file, tmp_path)
    quantized = import_model(tmp_path)
    assert quantized.embedding == ()
    np.testing.assert_array_equal(quantized.fit_weights[0], whole.fit_weights[0])
    assert encode_model(quantized) == encode_model(whole)
    if name.startswith("v0"):
        export_deepmd(quantized, tmp_path / "again")
        same(read_dict(tmp_path / "weight.npy"),
             read_dict(tmp_path / "again" / "nvnmd_qnn" / "weight.npy"))  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_model_through_a_run_folder(case, tmp_path):
    model = wide_model(case)
    export_deepmd(model, tmp_path / "run")
    found = import_model(tmp_path / "run")
    same_model(found, model)
    for stage in ("cnn", "qnn"):
        same(stage_weights(found, stage).arrays(), stage_weights(model, stage).arrays())
    cnn, qnn = stage_weights(found, "cnn"), stage_weights(found, "qnn")
    assert not np.array_equal(cnn.fit_weights[0], qnn.fit_weights[0])
    export_deepmd(found, tmp_path / "again")
    for file in STAGE_FILES:
        same(read_dict(tmp_path / "run" / file), read_dict(tmp_path / "again" / file), file)
    assert (tmp_path / "run/nvnmd_qnn/model.pb").read_bytes() == encode_model(model)
    system = crystal(model)
    one, two = (evaluate_system(m, system, overflow="truncate") for m in (model, found))
    assert one.force.tobytes() == two.force.tobytes()
    floats = [evaluate_system(m, system, "float", overflow="truncate") for m in (model, found)]
    assert floats[0].force.tobytes() == floats[1].force.tobytes()
    # the committed fixtures of version 0 hold only the table rows that their frames visit
    assert model.version == 0 or 0 < np.abs(floats[0].force - one.force).max() < 0.1


def test_raw_tables_are_kept(run):
    """Coefficients of binary64 come back as they were, the model computes with flt words."""
    content = read_dict(run / "nvnmd_cnn" / "map.npy")
    content["g"] = [table * (1.0 + 2.0**-40) for table in content["g"]]
    write_dict(run / "nvnmd_cnn" / "map.npy", content)
    model = import_model(run)
    back = run.parent / "back"
    export_deepmd(model, back)
    same(read_dict(back / "nvnmd_cnn" / "map.npy")["g"], content["g"])
    assert not np.array_equal(model_tables(model).g, model.table_g)


def test_settings_of_the_folder_are_kept(run):
    """What another DeePMD-kit writes in config.npy, other names of weights, train.json."""
    file = run / "nvnmd_cnn" / "config.npy"
    config = read_dict(file)
    config["dscp"]["dmin"] = np.float64(1.9)
    config["new"] = {"x": [1, "a"]}
    write_dict(file, config)
    weight_file = run / "nvnmd_qnn" / "weight.npy"
    renamed = {k + "_1" if k.startswith("layer_0") else k: v
               for k, v in reversed(read_dict(weight_file).items())}  # fmt: skip
    write_dict(weight_file, renamed)
    (run / "nvnmd_cnn" / "train.json").write_text('{"a": 1.5}')
    model = import_model(run)
    model.save(run / "m.nvnmd")
    back = run.parent / "back"
    export_deepmd(Model.load(run / "m.nvnmd"), back)
    same(read_dict(back / "nvnmd_cnn" / "config.npy"), config)
    same(read_dict(back / "nvnmd_qnn" / "weight.npy"), renamed)
    assert json.loads((back / "nvnmd_cnn" / "train.json").read_text()) == {"a": 1.5}


def refuse(path, *words) -> None:
    with pytest.raises(ModelFileError) as caught:
        import_model(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_what_is_missing_is_named(run, tmp_path):
    refuse(tmp_path / "none", "no such file or folder")
    refuse(tmp_path, "config.npy", "expected a run folder with nvnmd_cnn and nvnmd_qnn")
    refuse(run / "nvnmd_qnn", "map.npy", "expected a run folder")
    refuse(run / "nvnmd_cnn" / "map.npy", "expected the folder")
    import_model(run).save(tmp_path / "m.nvnmd")
    refuse(tmp_path / "m.nvnmd", "a model file of this program")
    (tmp_path / "cut.nvnmd").write_bytes((tmp_path / "m.nvnmd").read_bytes()[:5000])
    refuse(tmp_path / "cut.nvnmd", "a model file of this program")
    shutil.rmtree(run / "nvnmd_qnn")
    refuse(run, "nvnmd_qnn/weight.npy")


def change(run, file, **changes) -> None:
    """Replace entries of a file; names use `__` for the next level, None removes."""
    content = read_dict(run / file)
    for name, value in changes.items():
        part = content
        *path, last = name.split("__")
        for key in path:
            part = part[key]
        if value is None:
            del part[last]
        else:
            part[last] = value
    write_dict(run / file, content)


@pytest.mark.parametrize(
    ("file", "name", "value", "words"),
    [
        ("config", "ctrl__VERSION", 1, "not the settings of a model"),
        ("config", "ctrl__VERSION", 7, "NVNMD version 7"),
        ("config", "ctrl__MAX_NNEI", 10**9, "neighbours"),
        ("config", "ctrl", None, "no key 'ctrl'"),
        ("config", "dpin__type_map", ["A"], "dpin.type_map is ['Cu', 'Au']"),
        ("config", "dpin__type_map", 5, "not the settings of a model"),
        ("config", "dscp__sel", [10**9, 1], "sel [1000000000, 1]"),
        ("config", "dscp__sel", [-1, 3], "sel [-1, 3]"),
        ("config", "dscp__sel", "many", "not the settings of a model"),
        ("config", "dscp__rcut", float("nan"), "rcut nan"),
        ("config", "dscp__rcut", 1e9, "expected 0 <= rcut_smth < rcut <= 8"),
        ("config", "dscp__axis_neuron", 3, "contradict each other"),
        ("weight", "layer_0_type_1.matrix", None, "'layer_0_type_1.matrix' is missing"),
        ("weight", "layer_0_type_1.matrix", np.zeros((3, 3)), "not the weights of a model"),
        ("weight", "layer_0_type_1.matrix", "text", "not the weights of a model"),
        ("weight", "layer_1_type_0.matrix", np.full((128, 128), np.nan), "not finite"),
        ("weight", "layer_1_type_0.bias", np.zeros(7), "not the weights of a model"),
        ("weight", "filter_type_all.matrix_1_0", np.zeros((2, 16)), "expected 1 inputs"),
        ("weight", "filter_type_all.bias_2_1", np.zeros(31), "31 biases"),
        ("weight", "descrpt_attr.t_avg", np.zeros((2, 7)), "t_avg has shape (2, 7)"),
        ("weight", "descrpt_attr.t_std", np.arange(1.0, 17.0).reshape(2, 8), "between slots"),
        ("weight", "descrpt_attr.t_std", np.ones((2, 512)), "statistics other than"),
        ("map", "cfg_s2g", None, "'cfg_s2g' is missing"),
        ("map", "cfg_s2g", [[0.0, 1.0, 0.1, 0, 10]], "power of two"),
        ("map", "cfg_s2g", [[0.0, 1e9, 1.0, 0, 10**9]], "expected (2, 1000000000,"),
        ("map", "g", [np.zeros((512, 128))], "expected (2, 512, 128)"),
        ("map", "g", [np.full((512, 128), np.inf)] * 2, "not finite"),
        ("map", "s", [], "not the tables of a model"),
    ],
)
def test_contradictions(run, file, name, value, words):
    """Each is refused in one line, without taking memory for what it claims."""
    change(run, f"nvnmd_cnn/{file}.npy", **{name: value})
    refuse(run, words)


def test_stages_that_do_not_belong_together(run):
    change(run, "nvnmd_qnn/config.npy", dscp__rcut=5.0)
    refuse(run, "nvnmd_qnn/config.npy: dscp.rcut is 5.0, the float stage's 6.0")


def test_input_documents_that_are_no_json(run):
    (run / "nvnmd_cnn" / "train.json").write_text("[" * 100000)
    refuse(run, "train.json: not readable as JSON")
    (run / "nvnmd_cnn" / "train.json").write_bytes(b"\xff\xfe")
    refuse(run, "train.json: not readable as JSON")


def test_a_model_of_modelpb_has_no_float_network(tmp_path, capsys):
    """It evaluates with the integer reference only, and makes no run folder."""
    model = wide_model("v0-128")
    write_modelpb(tmp_path / "model.pb", model)
    file, names = str(tmp_path / "m.nvnmd"), ["--type-map", *model.type_map]
    assert main(["import", str(tmp_path / "model.pb"), "-o", file, *names]) == 0
    assert "16 fraction bits, and it holds no continuous network" in capsys.readouterr().out
    found = Model.load(file)
    assert found.type_map == model.type_map
    system = crystal(model)
    fixed = evaluate_system(found, system, overflow="truncate")
    whole = evaluate_system(model, system, overflow="truncate")
    assert 0 < np.abs(fixed.force - whole.force).max() < 5e-3
    with pytest.raises(InputError, match="holds no continuous network"):
        evaluate_system(found, system, "float")
    out = str(tmp_path / "run")
    assert main(["export", file, "--format", "deepmd", "-o", out]) == 1
    assert "without the float stage" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main(["export", file, "--format", "model.pb", "-o", str(tmp_path / "b.pb")]) == 0
    assert (tmp_path / "b.pb").read_bytes() == (tmp_path / "model.pb").read_bytes()


def test_element_names(run, tmp_path, capsys):
    model = import_model(run)
    write_modelpb(tmp_path / "model.pb", model)
    assert import_model(tmp_path / "model.pb").type_map == ("T0", "T1")
    assert main(["import", str(tmp_path / "model.pb"), "-o", str(tmp_path / "m.nvnmd")]) == 0
    assert "holds no element names" in capsys.readouterr().err
    assert import_model(run, NAMES[:2]).type_map == NAMES[:2]
    with pytest.raises(InputError, match="its types are Cu Au, not A B"):
        import_model(run, ["A", "B"])


@pytest.mark.parametrize("case", ["v0-128", "v1-128"])
def test_what_the_weights_lose_is_measured(case):
    model = wide_model(case)
    cut = measure_weight_cut(model)
    other = decode_model(encode_model(model), type_map=model.type_map)
    assert 0 < cut.energy_rms <= cut.energy_max < 0.05
    assert 0 < cut.force_rms <= cut.force_max < 0.05
    assert cut.atoms == 64 and "steps of 2^-16" in cut.line
    assert f"{cut.force_max:.1e} eV/Å" in cut.line
    assert measure_weight_cut(other).force_max == 0
    counts = np.bincount(crystal(model).types, minlength=model.ntypes)
    assert counts.min() > 0 and counts.sum() == 64


def test_export_quotes_the_difference(run, tmp_path, capsys):
    file = tmp_path / "m.nvnmd"
    import_model(run).save(file)
    out = tmp_path / "model.pb"
    assert main(["export", str(file), "--format", "model.pb", "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "its weights have steps of 2^-16" in shown and "(a rattled crystal" in shown
    system = tmp_path / "data"
    (system / "set.000").mkdir(parents=True)
    made = crystal(import_model(run))
    (system / "type.raw").write_text("\n".join(map(str, made.types)) + "\n")
    (system / "type_map.raw").write_text("Cu\nAu\n")
    np.save(system / "set.000/coord.npy", np.tile(made.coord.reshape(1, -1), (3, 1)))
    np.save(system / "set.000/box.npy", np.tile(made.box.reshape(1, -1), (3, 1)))
    again = ["export", str(file), "--format", "deepmd", "-o", str(tmp_path / "again")]
    assert main([*again, "-s", str(system), "-n", "2"]) == 0
    assert f"128 atoms ({system})" in capsys.readouterr().out


def test_places_to_write(run, tmp_path, capsys):
    file = tmp_path / "m.nvnmd"
    import_model(run).save(file)
    (tmp_path / "folder").mkdir()
    for command in (
        ["import", str(run), "-o", str(tmp_path / "folder")],
        ["import", str(run), "-o", str(tmp_path / "none" / "m")],
        ["export", str(file), "--format", "model.pb", "-o", str(tmp_path / "folder")],
        ["export", str(file), "--format", "deepmd", "-o", str(file)],
    ):
        assert main(command) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_models_without_the_float_stage_are_told(tmp_path):
    bare = replace(wide_model("v0-128"), extras={})
    with pytest.raises(ModelFileError, match="without the float stage"):
        export_deepmd(bare, tmp_path / "run")
    assert not (tmp_path / "run").exists()
