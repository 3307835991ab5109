"""`nvnmd build`: from a model to what a board runs, in a folder that appears at once and whole."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nvnmd.boards.catalog import BoardType
from nvnmd.boards.fit import LINK_WORDS, check_fit, link_words
from nvnmd.boards.gateware import LinkedAccelerator
from nvnmd.boards.link.endpoint import EchoBoard
from nvnmd.errors import InputError, NvnmdError
from nvnmd.hdl.host.image import build_image, fingerprint
from nvnmd.hdl.host.loader import digest_cycles
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.presets import DEFAULT, preset
from nvnmd.hdl.schedule import latencies
from nvnmd.quantize.model import Model
from nvnmd.version import program_version

REPORT = "report.json"
MARK = "top.v"
"""What every folder with logs of tools holds."""
Say = Callable[[str], None]


def build(model: Model | None, board: BoardType, out_dir: Path, *, size: str = DEFAULT,
          fold: int | None = None, fit_cols: int | None = None, fit_rows: int | None = None,
          fit_atoms: int | None = None, clock: float | None = None,
          seed: int = 1, say: Say = lambda _: None) -> dict[str, Any]:
    """Build for a board and return what ``report.json`` holds.

    Parameters
    ----------
    model : Model, optional
        Gives the accelerator's sizes; without one the link is built with an echo behind it.
    board : BoardType
        For which.
    out_dir : Path
        Replaced as a whole once everything is ready; an interruption leaves what was there. Where a
        tool fails, its logs are kept in ``NAME.failed`` beside it.
    size : str
        Preset (`nvnmd.hdl.presets`).
    fold, fit_cols, fit_rows, fit_atoms : int, optional
        What is chosen otherwise than in the preset.
    clock : float, optional
        Hz on an FPGA. By default 25 MHz on an ECP5, 50 MHz for the link alone; 100 MHz where
        Vivado is to route.
    seed : int
        Of placement.
    say : callable
        Takes lines of progress.

    Raises
    ------
    InputError
        The folder holds something else, or the model does not fit the board.
    ToolMissingError
        A tool is missing or too old.
    NvnmdError
        A tool failed.
    """
    report: dict[str, Any] = {"nvnmd": program_version(), "board": board.name, "part": board.part}
    cfg = None
    if model is not None:
        cfg = preset(size).config(model, fold=fold, fit_cols=fit_cols, fit_rows=fit_rows,
                                  fit_atoms=fit_atoms, family=board.fpga or None)
        report |= _model_facts(model, cfg)
    with _whole_folder(out_dir) as folder:
        if board.name == "sim":
            report |= _simulated(cfg, folder, say)
        else:
            report |= _for_fpga(cfg, board, folder, clock, seed, say)
        if model is not None and cfg is not None:
            (folder / "model.bin").write_bytes(build_image(model, cfg).astype("<u4").tobytes())
            if "clock_asked" in report:
                report["microseconds_per_atom"] = (
                    report["cycles_per_atom"] / report["clock_asked"])
        report["files"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                           for path in sorted(folder.iterdir())}
        (folder / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def table(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report as rows to read."""
    rows = [("board", f"{report['board']} ({report['part']})")]
    if "model_digest" in report:
        rows += [("model", report["model_digest"]),
                 ("cycles per atom, full list", str(report["cycles_per_atom"])),
                 ("cycles of a digest over the memories", str(report["digest_cycles"]))]
    else:
        rows.append(("design", "the link with an echo"))
    if "clock_asked" in report:
        reached = (f"{report['clock_achieved']:.2f} reached, seed {report['seed']}, "
                   if "clock_achieved" in report else "")
        rows.append(("clock, MHz", f"{reached}{report['clock_asked']:g} asked"))
    if report.get("critical_path"):
        rows.append(("slowest path", report["critical_path"]))
    if "microseconds_per_atom" in report:
        rows.append(("µs per atom, full list", f"{report['microseconds_per_atom']:.1f}"))
    rows += [(name, f"{used} of {report['available'][name]}")
             for name, used in report.get("used", {}).items()]
    rows += [(f"{name}, version", version) for name, version in report.get("tools", {}).items()]
    return rows


def _model_facts(model: Model, cfg: AcceleratorConfig) -> dict[str, Any]:
    return {"model_digest": model.digest, "parameters": cfg.to_dict(),
            "fingerprint": f"{fingerprint(cfg):08x}",
            "cycles_per_atom": latencies(cfg).cycles_per_atom(model.nnei),
            "digest_cycles": digest_cycles(cfg)}


def _simulated(cfg: AcceleratorConfig | None, folder: Path, say: Say) -> dict[str, Any]:
    from nvnmd.boards.simulated import WORDS, board_program, echo_program
    from nvnmd.sim.simulators import check_simulation_tools, tool_lines

    tools = check_simulation_tools()
    for line in tool_lines(tools):
        say(line)
    program = echo_program(WORDS) if cfg is None else board_program(cfg)
    shutil.copy2(program, folder / "nvnmd_board")
    return {"tools": {tool.program.name: tool.version for tool in tools.values()}}


def _for_fpga(cfg: AcceleratorConfig | None, board: BoardType, folder: Path, clock: float | None,
            seed: int, say: Say) -> dict[str, Any]:
    if cfg is None:
        design: Any = EchoBoard(LINK_WORDS)
    else:
        say(f"needs {check_fit(cfg, board)}; logic is not counted")
        words = link_words(cfg)
        design = LinkedAccelerator(cfg, words, words)
    if board.fpga != "ECP5":
        from nvnmd.boards.vivado import write_project

        wires = importlib.import_module(f"nvnmd.boards.{board.name}").WIRES
        say("Verilog and a project; Vivado is not run")
        return write_project(design, board, wires, 100e6 if clock is None else clock, folder)
    from nvnmd.boards.ecp5 import route

    wanted = clock if clock is not None else 50e6 if cfg is None else 25e6
    done = route(design, board, wanted, folder, seed=seed, say=say)
    return {"clock_asked": done.clock_asked, "clock_achieved": done.clock_achieved, "seed": seed,
            "critical_path": done.critical_path,
            "used": done.used, "available": done.available, "tools": done.tools}


@contextmanager
def _whole_folder(out_dir: Path) -> Iterator[Path]:
    """A folder beside `out_dir` that takes its place when the block ends well.

    Where a tool failed, what it wrote is kept beside it, named ``NAME.failed``.
    """
    if out_dir.exists() and (not out_dir.is_dir()
                             or (any(out_dir.iterdir()) and not (out_dir / REPORT).exists())):
        raise InputError(f"{out_dir}: not empty and no earlier build, expected a new folder")
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out_dir.name}.", dir=out_dir.parent) as name:
        folder = Path(name) / "new"
        folder.mkdir()
        try:
            yield folder
        except NvnmdError as error:
            kept = out_dir.with_name(f"{out_dir.name}.failed")
            if not any(folder.glob("*.log")) or (kept.exists() and not (kept / MARK).is_file()):
                raise
            if kept.exists():
                shutil.rmtree(kept)
            os.rename(folder, kept)
            # the message names a log
            raise NvnmdError(str(error).replace(str(folder), str(kept))) from None
        if out_dir.exists():
            old = Path(name) / "old"
            os.rename(out_dir, old)
        os.rename(folder, out_dir)
