"""`nvnmd compare`: the first word in which two models, or two backends, differ."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.cli.common import add_command, add_mode, add_overflow
from nvnmd.cli.output import add_json, show_json
from nvnmd.messages import log, warn

if TYPE_CHECKING:
    from nvnmd.quantize.model import Model


def add_commands(commands: Any) -> None:
    """Add the command of this group."""
    parser = add_command(
        commands, "compare", run, summary="the first difference of two models or backends",
        description="Evaluate atoms of a system twice and compare stage by stage: two models by "
                    "every stage of the integer reference, or two backends of one model. Prints "
                    "the first word that differs, by stage, atom, neighbour and word, with both "
                    "values; the exit code is then 1.",
        examples=["nvnmd_qnn/model.nvnmd other/model.nvnmd -s data/validation",
                  "model.nvnmd --backends fixed,sim -s data/validation --frame 3"])
    parser.add_argument("a", metavar="A", help="a model file, a run folder or a model.pb")
    parser.add_argument("b", metavar="B", nargs="?", help="another one")
    parser.add_argument("-s", "--system", metavar="SYSTEM", required=True, type=Path,
                        help="a system (folder or FILE.hdf5#/PATH)")
    parser.add_argument("--backends", metavar="X,Y",
                        help="compare two backends of A: float, reference (the NumPy definition), "
                             "fixed or sim")
    parser.add_argument("--frame", metavar="K", type=int, default=0,
                        help="frame of the system, counted from 0 (default: 0)")
    add_mode(parser)
    add_overflow(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Run `nvnmd compare`; 1 if a word differs."""
    from nvnmd.errors import InputError

    if (args.b is None) == (args.backends is None):
        raise InputError("compare: expected either a second model or --backends X,Y")
    names = tuple(args.backends.split(",")) if args.backends else ()
    if args.backends and len(names) != 2:
        raise InputError(f"--backends: got {args.backends!r}, expected two names and a comma")
    from nvnmd.data.mixed import find_frame
    from nvnmd.data.systems import load_groups
    from nvnmd.evaluation.compare import compare_backends, compare_models
    from nvnmd.evaluation.frames import frame_neighborhood
    from nvnmd.progress import elapsing

    models = _load([text for text in (args.a, args.b) if text is not None])
    if "sim" in names:
        from nvnmd.sim.simulators import check_simulation_tools

        check_simulation_tools()
    groups = load_groups(args.system, models[0].type_map, require=())
    system, frame = find_frame(groups, args.frame)
    hood = frame_neighborhood(models[0], system, frame, args.overflow)
    if hood.dropped:
        warn(f"{args.system}: {hood.dropped} neighbours beyond sel were dropped")
    if len(models) == 2:
        outcome = compare_models(models[0], models[1], hood, args.mode)
    else:
        with elapsing("comparing"), tempfile.TemporaryDirectory(prefix="nvnmd-compare-") as work:
            outcome = compare_backends(models[0], (names[0], names[1]), hood, Path(work),
                                       args.mode)
    if args.json:
        show_json("compare", {"atoms": outcome.atoms, "compared": outcome.compared,
                              "differing": outcome.differing, "notes": list(outcome.notes),
                              "first": outcome.first})
        return 1 if outcome.differing else 0
    log(outcome.line)
    for note in outcome.notes:
        log(note)
    if outcome.first is not None:
        log(outcome.first)
    return 1 if outcome.differing else 0


def _load(paths: list[str]) -> list[Model]:
    """Read models; a `model.pb`, which holds no element names, takes those of the other."""
    from nvnmd.errors import InputError
    from nvnmd.evaluation.backends import FloatNetwork
    from nvnmd.evaluation.potential import load_model

    found: dict[str, Model] = {}
    type_map = None
    for path in sorted(paths, key=_is_modelpb):
        network = load_model(path, type_map if _is_modelpb(path) else None).network
        if isinstance(network, FloatNetwork):
            raise InputError(f"{path}: a continuous network has no words, expected a frozen model")
        found[path], type_map = network, network.type_map
    return [found[path] for path in paths]


def _is_modelpb(path: str) -> bool:
    return Path(path).suffix == ".pb"
