"""`nvnmd presets`: sizes of the accelerator for a model."""

from __future__ import annotations

import argparse
from typing import Any

from nvnmd.cli.common import add_command, model_path, need
from nvnmd.cli.output import TextTable, add_json, show_json, show_table


def add_commands(commands: Any) -> None:
    """Add the command of this group."""
    presets = add_command(
        commands, "presets", show_presets, summary="sizes of the accelerator for a model",
        description="Show the presets of the accelerator for a model: cycles per atom, the "
                    "multipliers and memory blocks that they take, and whether the part that each "
                    "is meant for has as many. No synthesis runs; logic is not counted.",
        examples=["nvnmd_qnn/model.nvnmd"])
    presets.add_argument("model", metavar="MODEL",
                         help="model.nvnmd, or the folder that holds it")
    add_json(presets)


def show_presets(args: argparse.Namespace) -> int:
    """Run `nvnmd presets`."""
    path = model_path(args.model)
    need("presets", "hdl", "amaranth")
    from nvnmd.hdl import presets
    from nvnmd.hdl.budget import count_budget, total
    from nvnmd.hdl.pace import Pace
    from nvnmd.progress import Progress
    from nvnmd.quantize.model import Model

    model = Model.load(path)
    rows = []
    with Progress("counting multipliers and memories", len(presets.PRESETS)) as bar:
        for preset in presets.PRESETS.values():
            cfg, part = preset.config(model), preset.family
            counted = total(count_budget(cfg))
            used = counted.multiplier_blocks(part), counted.memory_blocks(part)
            rows.append({
                "preset": preset.name, "fold": cfg.fold, "fit_cols": cfg.fit_cols,
                "fit_rows": cfg.fit_rows, "fit_atoms": cfg.fit_atoms,
                "neighbors": model.nnei,
                "cycles_per_atom": Pace.of(cfg).cycles_per_atom(model.nnei),
                "part": part.part, "multiplier": part.multiplier, "multipliers": used[0],
                "multipliers_of_part": part.multipliers, "memory": part.memory,
                "memories": used[1], "memories_of_part": part.memories,
                "holds": counted.fits(part),
            })
            bar.tick()
    if args.json:
        show_json("presets", {"model": str(path), "presets": rows})
        return 0
    table = TextTable(("preset", ">fold", ">fitting array", ">atoms in turn",
                       f">cycles per atom, {model.nnei} neighbours", "part", ">multipliers",
                       ">memory blocks", "holds them"))
    for row in rows:
        table.add(
            row["preset"], row["fold"], f"{row['fit_cols']} x {row['fit_rows']}",
            row["fit_atoms"], row["cycles_per_atom"], row["part"],
            f"{row['multipliers']} of {row['multipliers_of_part']} {row['multiplier']}",
            f"{row['memories']} of {row['memories_of_part']} {row['memory']}",
            "yes" if row["holds"] else "no")
    show_table(table)
    return 0
