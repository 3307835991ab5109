"""What a folder holds that is worth showing: model, learning curves, export, simulation, data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvnmd.errors import InputError, NvnmdError, one_line
from nvnmd.evaluation.backends import FloatNetwork
from nvnmd.evaluation.potential import load_model
from nvnmd.quantize.model import Model
from nvnmd.regular_file import text_of
from nvnmd.training.lcurve import read_lcurve

STAGES = ("nvnmd_cnn", "nvnmd_qnn")
MODEL_NAME, CURVE, INPUT, COMMANDS = "model.nvnmd", "lcurve.out", "train.json", "commands.json"
MANIFEST, SUMMARY, RESOURCES = "manifest.json", "summary.json", "resources.json"
BUDGET, BUILD = "budget.json", "report.json"
_MAX_JSON = 16 << 20


@dataclass(kw_only=True)
class Run:
    """Files found in one folder.

    Attributes
    ----------
    path : Path
        What was asked for.
    network : Model or FloatNetwork or None
        The frozen model if there is one, else the float network.
    source : Path or None
        Where it was read from.
    curves : dict of str to structured array
        Learning curves by the folder they lie in.
    documents : dict of str to dict
        Input documents of the trainings, by folder.
    manifest, simulation, resources, budget, build : dict or None
        Of the exported accelerator, of its simulation, its cells, its multipliers and memories, and
        of the build for a board.
    systems : list of Path
        Systems to measure on.
    part : str
        What these are: "validation", "training" or "given".
    commands : list of dict
        The command lines that made it, as far as they are known.
    notes : list of str
        What is not there, or does not fit.
    """

    path: Path
    network: Model | FloatNetwork | None = None
    source: Path | None = None
    curves: dict[str, NDArray[np.void]] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    manifest: dict[str, Any] | None = None
    simulation: dict[str, Any] | None = None
    resources: dict[str, Any] | None = None
    budget: dict[str, Any] | None = None
    build: dict[str, Any] | None = None
    systems: list[Path] = field(default_factory=list)
    part: str = "validation"
    commands: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The path as a heading; that of the folder where one stands by its whole name."""
        return str(self.path if self.path.name else self.path.resolve())

    @property
    def model(self) -> Model | None:
        """The frozen model, if there is one."""
        return self.network if isinstance(self.network, Model) else None


def collect(path: str | Path, systems: Sequence[str | Path] = (),
            type_map: Sequence[str] = ()) -> Run:
    """Look through a folder of a run, of a stage, or a model file.

    Parameters
    ----------
    path : path-like
        A folder that holds the stages `nvnmd_cnn` and `nvnmd_qnn` (as that of the demo), one of
        these, or what `nvnmd.load_model` reads.
    systems : sequence of path-like
        Data to measure on; by default those that the input documents name, validation before
        training.
    type_map : sequence of str
        Element names for a `model.pb`, which holds none.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        There is nothing to show in it.
    NvnmdError
        What is there is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder, expected a run, a stage or a model")
    run = Run(path=path)
    folders = list(_folders(path))
    run.source, run.network = _network(path, folders, type_map)
    for folder in folders:
        if (folder / CURVE).is_file():
            run.curves[folder.name] = read_lcurve(folder / CURVE)
        if (folder / INPUT).is_file():
            run.documents[folder.name] = read_json(folder / INPUT)
    base = path if path.is_dir() else path.parent
    run.manifest = _below(base, MANIFEST, "memory_map")
    run.simulation = _below(base, SUMMARY, "words_compared")
    run.resources = _below(base, RESOURCES, "units")
    run.budget = _below(base, BUDGET, "units")
    run.build = _below(base, BUILD, "board")
    for file in dict.fromkeys(folder / COMMANDS for folder in (base, *folders,
                                                               *_subfolders(base))):
        if file.is_file():
            run.commands += read_json(file).get("commands", [])
    found = (run.network, run.manifest, run.simulation, run.build)
    if not run.curves and all(one is None for one in found):
        raise InputError(f"{path}: nothing to show in it, expected a run folder, a folder of "
                         "train-cnn, train-qnn, export-hdl, simulate or build, or a model")
    _same_model(run)
    _data(run, base, systems)
    return run


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    InputError
        The file is not one.
    """
    try:
        found = json.loads(text_of(file, _MAX_JSON))
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: got no JSON object ({one_line(error)})") from None
    return found


def _folders(path: Path) -> Iterator[Path]:
    """Folders of the stages that belong to a path, the float stage first."""
    base = path if path.is_dir() else path.parent
    if any((base / name).is_dir() for name in STAGES):
        yield from (base / name for name in STAGES if (base / name).is_dir())
        return
    # the second stage's folder beside the first
    if base.name == STAGES[1] and (base.parent / STAGES[0]).is_dir():
        yield base.parent / STAGES[0]
    yield base


def _subfolders(base: Path) -> list[Path]:
    return sorted(entry for entry in base.iterdir() if entry.is_dir())


def _network(path: Path, folders: list[Path], type_map: Sequence[str]
             ) -> tuple[Path | None, Model | FloatNetwork | None]:
    """The model itself: that of the last stage that has one."""
    if path.is_file():
        names = type_map if path.suffix == ".pb" and type_map else None
        return path, load_model(path, names).network
    for folder in reversed(folders):
        if (folder / MODEL_NAME).is_file():
            return folder / MODEL_NAME, load_model(folder / MODEL_NAME).network
    if any((path / name / "weight.npy").is_file() for name in STAGES):
        whole = all((path / name / "weight.npy").is_file() for name in STAGES)
        source = path if whole else path / STAGES[0]
        if whole or source.is_dir():
            return source, load_model(source).network
    if (path / "weight.npy").is_file() and (path / "config.npy").is_file():
        return path, load_model(path).network
    return None, None


def _below(base: Path, name: str, key: str) -> dict[str, Any] | None:
    """A JSON file of that name in a folder or one below, if it has the key that marks it."""
    for folder in (base, *_subfolders(base)):
        if (folder / name).is_file():
            found = read_json(folder / name)
            if key in found:
                return found
    return None


def _same_model(run: Run) -> None:
    """Note an export, a simulation or a build of another model than this one."""
    if run.model is None:
        return
    for what, found in (("export", (run.manifest or {}).get("model")),
                        ("simulation", run.simulation), ("build", run.build)):
        digest = None
        if isinstance(found, dict):
            digest = found.get("digest" if what == "export" else "model_digest")
        if digest is not None and digest != run.model.digest:
            run.notes.append(f"the {what} is of another model (digest {str(digest)[:12]})")


def _data(run: Run, base: Path, given: Sequence[str | Path]) -> None:
    """Find the systems to measure on."""
    if given:
        from nvnmd.data.find import find_systems

        run.systems = [system for text in given for system in find_systems(text)]
        run.part = "given"
        return
    for document in reversed(run.documents.values()):
        training = document.get("training")
        for part in ("validation", "training"):
            data = training.get(f"{part}_data") if isinstance(training, dict) else None
            named = data.get("systems") if isinstance(data, dict) else None
            names = [named] if isinstance(named, str) else named
            if not isinstance(names, list) or not names:
                continue
            found = [_located(str(name), base) for name in names]
            if all(found):
                run.systems, run.part = [s for some in found for s in some], part
                return
            missing = names[next(k for k, some in enumerate(found) if not some)]
            note = f"the {part} data {missing!r} of {INPUT} is not there"
            # both stages name the same data as a rule
            if note not in run.notes:
                run.notes.append(note)
    if run.network is not None:
        run.notes.append("no data to measure on; -s SYSTEM names some")


def _located(name: str, base: Path) -> list[Path]:
    """Systems that a document names: from here, from the folder of the run, or the one around it.

    The folder may have another name than when it was made: its own data are found, too.
    """
    from nvnmd.data.find import find_systems

    around = base.parent if base.name else base.resolve().parent
    inside = [folder.joinpath(*Path(name).parts[1:]) for folder in (base, around)
              if len(Path(name).parts) > 1]
    for candidate in (Path(name), base / name, around / name, *inside):
        try:
            return find_systems(candidate)
        except (NvnmdError, OSError):
            continue
    return []
