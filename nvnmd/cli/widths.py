"""`nvnmd widths`: the narrowest number formats whose errors stay within a bound."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvnmd.cli.common import add_command, positive
from nvnmd.cli.output import TextTable, add_json, show_json, show_table
from nvnmd.errors import InputError
from nvnmd.messages import log

if TYPE_CHECKING:
    from nvnmd.evaluation.narrowing import Measured, Narrowing, Price

BOUND = 1.0


def add_commands(commands: Any) -> None:
    """Add the command of this group."""
    parser = add_command(
        commands, "widths", run, summary="the narrowest number formats within an error bound",
        description="Evaluate labelled data with narrower number formats than the model's, one at "
                    "a time and together, without training: force and energy errors against "
                    "multipliers and memory of the accelerator, and the cheapest set whose force "
                    "error rises by no more than a bound.",
        examples=["nvnmd_qnn/model.nvnmd -s data/validation",
                  "nvnmd_qnn -s data/validation --bound 5 -o narrow.nvnmd"])
    parser.add_argument("model", metavar="MODEL",
                        help="model.nvnmd, or a folder that holds one")
    parser.add_argument("-s", "--system", metavar="SYSTEM", required=True,
                        help="a labelled system, or a folder with systems below it")
    parser.add_argument("-n", "--numb-test", metavar="N", type=positive,
                        help="frames of each system, from the first (default: all)")
    parser.add_argument("--bound", metavar="PERCENT", type=_percent, default=BOUND,
                        help="largest rise of the force's root mean square error (default: 1)")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path,
                        help="write the model in the set that is found (default: none is written)")
    add_json(parser)


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a percentage of at least 0")
    return value


def run(args: argparse.Namespace) -> int:
    """Run `nvnmd widths`."""
    from nvnmd.cli.test import load_network
    from nvnmd.data.mixed import first_frames
    from nvnmd.data.systems import find_systems, load_groups
    from nvnmd.evaluation.narrowing import narrow_search
    from nvnmd.progress import elapsing
    from nvnmd.quantize.model import Model
    from nvnmd.quantize.narrow import narrowed

    model = load_network(args.model)
    if not isinstance(model, Model):
        raise InputError(f"{args.model}: got a continuous network, expected a frozen model")
    if args.output is not None and args.output.is_dir():
        raise InputError(f"{args.output}: a folder is in the way, expected a file's name")
    systems = []
    for folder in find_systems(args.system):
        groups = load_groups(folder, model.type_map)
        count = sum(group.nframes for group in groups)
        count = min(args.numb_test or count, count)
        systems += [(group, frames) for group, frames in zip(
            groups, first_frames(groups, count), strict=True) if frames]
    # how many sets there will be, nobody knows before
    with elapsing("widths"):
        found = narrow_search(model, systems, bound=0.01 * args.bound)
    if args.json:
        show_json("widths", {"model": args.model, "bound": args.bound, **numbers(found)})
    else:
        _show(str(args.model), found, args.bound)
    if args.output is not None:
        narrowed(model, found.best.widths).save(args.output)
        if not args.json:
            log(f"{args.output}: {args.output.stat().st_size} bytes")
    return 0


def numbers(found: Narrowing) -> dict[str, Any]:
    """What a search found, in JSON's types."""
    def one(measured: Measured) -> dict[str, Any]:
        price = found.prices.get(measured.widths)
        return {"widths": measured.widths.to_dict(), "energy": measured.energy,
                "force": measured.force, "rise": 100.0 * measured.rise, "left": measured.left,
                "multiplier_bits": None if price is None else price.multiplier_bits,
                "memory_bits": None if price is None else price.memory_bits}

    return {"whole": one(found.whole), "best": one(found.best),
            "alone": {name: [one(m) for m in tried] for name, tried in found.alone.items()},
            "together": [one(m) for m in found.together]}


def _show(model: str, found: Narrowing, bound: float) -> None:
    table = TextTable((*found.whole.widths.to_dict(), ">energy, eV/atom", ">force, eV/Å",
                       ">rise, %", ">multiplier bits", ">memory kbit"),
                      title=f"{model}: root mean square errors in narrower formats")
    whole = found.prices[found.whole.widths]
    rows = [found.whole, *(m for tried in found.alone.values() for m in tried), *found.together]
    for measured in rows:
        table.add(*_cells(measured, found.whole, found.prices.get(measured.widths)))
    show_table(table)
    for measured in rows:
        if measured.left:
            bits = ", ".join(f"{k} {v}" for k, v in measured.widths.to_dict().items())
            log(f"{bits}: {measured.left}")
    price, best = found.prices[found.best.widths], found.best
    bits = ", ".join(f"{name} {value}" for name, value in best.widths.to_dict().items())
    log(f"cheapest within {bound:g} %: {bits}: force error {best.force:.4e} eV/Å "
        f"({100.0 * best.rise:+.2f} %), {price.multiplier_bits / whole.multiplier_bits:.1%} of the "
        f"multiplier bits, {price.memory_bits / whole.memory_bits:.1%} of the memory bits")


def _cells(measured: Measured, whole: Measured, price: Price | None) -> list[str]:
    widths = measured.widths.to_dict()
    energy = "" if measured.energy is None else f"{measured.energy:.4e}"
    errors = ["left", "left", ""] if measured.left else [
        energy, f"{measured.force:.4e}", f"{100.0 * measured.rise:+.2f}"]
    costs = ["", ""] if price is None else [
        str(price.multiplier_bits), f"{price.memory_bits / 1000:.1f}"]
    return [*(str(bits) for bits in widths.values()), *errors, *costs]
