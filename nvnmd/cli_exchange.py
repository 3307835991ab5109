"""`nvnmd import` and `nvnmd export`: models of DeePMD-kit and of the NVNMD computer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.cli_common import add_command, log, model_path, positive, warn
from nvnmd.errors import InputError, RangeError

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
        description="Write a model as a run folder of DeePMD-kit, from which `dp train-nvnmd -s "
                    "s2` runs, or as the model.pb of the NVNMD computer.",
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
    from nvnmd.deepmd_import import import_model

    model = import_model(args.path, args.type_map)
    model.save(args.output)
    log(f"{args.path}: NVNMD version {model.version}, types {' '.join(model.type_map)}, "
        f"sel {' '.join(map(str, model.sel))}, {model.max_nnei} neighbours, rcut {model.rcut:g} Å")
    if model.origin.get("format") == "model.pb":
        log("its weights have 16 fraction bits, and it holds no float network")
        if not args.type_map:
            warn(f"{args.path}: holds no element names; --type-map names them")
    elif not model.embedding:
        log("it holds no float network")
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
        from nvnmd.deepmd_export import export_deepmd

        files = export_deepmd(model, args.output)
    else:
        from nvnmd.modelpb import write_modelpb

        write_modelpb(args.output, model)
        files = [args.output]
    for file in files:
        log(f"{file}: {file.stat().st_size} bytes")
    _quote_difference(model, args)
    return 0


def _quote_difference(model: Model, args: argparse.Namespace) -> None:
    from nvnmd.data import load_system
    from nvnmd.weight_cut import measure_weight_cut

    if args.system is not None:
        system = load_system(args.system, model.type_map, require=())
        log(measure_weight_cut(model, system, frames=args.numb_test).line)
        return
    try:
        log(measure_weight_cut(model).line)
    except RangeError as error:
        log("model.pb: its weights have steps of 2^-16; what that changes was not measured")
        warn(str(error))
