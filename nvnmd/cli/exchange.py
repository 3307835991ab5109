"""`nvnmd import` and `nvnmd export`: models of DeePMD-kit and of the NVNMD computer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.cli.common import add_command, model_path, positive
from nvnmd.errors import InputError, RangeError
from nvnmd.messages import log, warn

if TYPE_CHECKING:
    from nvnmd.quantize.model import Model

FORMATS = ("deepmd", "model.pb")


def add_commands(commands: Any) -> None:
    """Add the commands of this group."""
    import_ = add_command(
        commands, "import", import_files, summary="make a model file of DeePMD-kit's files",
        description="Make a model file of a run folder of DeePMD-kit (nvnmd_cnn and nvnmd_qnn), of "
                    "its config.npy, weight.npy and map.npy, or of a model.pb.",
        examples=["run -o model.nvnmd", "run/nvnmd_qnn/model.pb -o model.nvnmd --type-map Ge Te"])
    import_.add_argument("path", metavar="PATH", type=Path,
                         help="a run folder, a folder with the three files, or a model.pb")
    import_.add_argument("-o", "--output", metavar="MODEL", type=Path, required=True,
                         help="the model file to write")
    import_.add_argument("--type-map", metavar="NAME", nargs="+",
                         help="element names for a model.pb, which holds none")

    export = add_command(
        commands, "export", export_files, summary="write a model for DeePMD-kit or a model.pb",
        description="Write a model as a run folder of DeePMD-kit, in which `dp train-nvnmd "
                    "train.json -s s2` trains the second stage anew from the continuous network, "
                    "or as the model.pb of the NVNMD computer.",
        examples=["nvnmd_qnn/model.nvnmd --format deepmd -o run",
                  "nvnmd_qnn/model.nvnmd --format model.pb -o model.pb -s data/validation"])
    export.add_argument("model", metavar="MODEL", help="model.nvnmd, or the folder that holds it")
    export.add_argument("--format", choices=FORMATS, required=True,
                        help="deepmd: a run folder; model.pb: the NVNMD computer's file")
    export.add_argument("-o", "--output", metavar="PATH", type=Path, required=True,
                        help="the folder or file to write")
    export.add_argument("-s", "--system", metavar="SYSTEM", type=Path,
                        help="a system (folder or FILE.hdf5#/PATH) of one composition to measure "
                             "on what the weights of model.pb lose (default: a crystal made for "
                             "this)")
    export.add_argument("-n", "--numb-test", metavar="N", type=positive, default=1,
                        help="frames of the system, from the first (default: 1)")


def import_files(args: argparse.Namespace) -> int:
    """Run `nvnmd import`."""
    if args.output.is_dir():
        raise InputError(f"{args.output}: a folder is in the way, expected a file to write")
    if not args.output.absolute().parent.is_dir():
        raise InputError(f"{args.output}: its folder does not exist")
    from nvnmd.deepmd.importer import import_model

    model = import_model(args.path, args.type_map)
    model.save(args.output)
    newer = "" if model.sub_version == 1 else f", SUB_VERSION {model.sub_version}"
    log(f"{args.path}: NVNMD version {model.version}{newer}, types {' '.join(model.type_map)}, "
        f"sel {' '.join(map(str, model.sel))}, {model.max_nnei} neighbours, rcut {model.rcut:g} Å")
    if model.origin.get("format") == "model.pb":
        log("its weights have 16 fraction bits, and it holds no continuous network")
        if not args.type_map:
            warn(f"{args.path}: holds no element names; --type-map names them")
    elif not model.embedding:
        log("it holds no continuous network")
    log(f"model: {args.output} (digest {model.digest[:12]})")
    return 0


def export_files(args: argparse.Namespace) -> int:
    """Run `nvnmd export`."""
    path = model_path(args.model)
    if args.format == "model.pb" and args.output.is_dir():
        raise InputError(f"{args.output}: a folder is in the way, expected a file to write")
    if not args.output.absolute().parent.is_dir():
        raise InputError(f"{args.output}: its folder does not exist")
    from nvnmd.quantize.model import Model

    model = Model.load(path)
    if args.format == "deepmd":
        from nvnmd.deepmd.export import export_deepmd

        document, missing = (_second_stage(model, path, args) if model.sub_version == 1
                             else (None, ""))
        files = export_deepmd(model, args.output)
        if document is not None:
            from nvnmd.deepmd.second_stage import write_second_stage

            files.append(write_second_stage(args.output, document))
            if missing:
                warn(missing)
    else:
        from nvnmd.deepmd.modelpb import write_modelpb

        write_modelpb(args.output, model)
        files = [args.output]
    for file in files:
        log(f"{file}: {file.stat().st_size} bytes")
    _quote_difference(model, args)
    return 0


def _second_stage(model: Model, path: Path, args: argparse.Namespace
                  ) -> tuple[dict[str, Any], str]:
    """Make the input of DeePMD-kit's second stage, with the settings that the model came from; and
    a line about data that are missing, or an empty one.
    """
    from nvnmd.deepmd.second_stage import (
        NAME,
        missing_data,
        second_stage_document,
        training_document,
    )

    systems = () if args.system is None else (str(args.system),)
    document = second_stage_document(model, training_document(model, path), systems)
    missing = missing_data(document)
    if not missing and document["training"]["training_data"]["systems"]:
        return document, ""
    what = f"{missing[0]} is not here" if missing else "no data are known"
    return document, (f"{args.output / NAME}: {what}: name the training's data there before "
                      f"`dp train-nvnmd {NAME} -s s2`")


def _quote_difference(model: Model, args: argparse.Namespace) -> None:
    from nvnmd.data.systems import load_system
    from nvnmd.evaluation.weight_cut import measure_weight_cut

    if args.system is not None:
        system = load_system(args.system, model.type_map, require=())
        log(measure_weight_cut(model, system, frames=args.numb_test).line)
        return
    try:
        log(measure_weight_cut(model).line)
    except RangeError as error:
        log("model.pb: its weights have steps of 2^-16; what that changes was not measured")
        warn(str(error))
