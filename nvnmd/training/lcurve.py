"""The learning curve file, in DeePMD-kit's columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nvnmd.atomic_file import atomic_write, named
from nvnmd.errors import InputError, one_line
from nvnmd.regular_file import text_of

# Far above the lines of any training
MOST_TEXT = 256 << 20

# What the terminal calls the columns, and their units
NAMES = {"e": ("energy", "eV/atom"), "ae": ("atom_ener", "eV"), "f": ("force", "eV/Å"),
         "v": ("virial", "eV/atom"), "pf": ("atom_pref", "eV/Å"), "gf": ("drdq", "")}


class LearningCurve:
    """Writes `lcurve.out`: a header, then one line per display.

    Columns: step; for each quantity its root mean square error on the validation part (if there
    is one) and on the training batch; learning rate. Energies and virials are per atom.

    Parameters
    ----------
    path : Path
        The file.
    quantities : sequence of str
        Such as ``("rmse", "rmse_e", "rmse_f")``.
    validation : bool
        Whether there are columns of a validation part.
    continue_from : int or None
        Keep the lines up to this step of an existing file and append; None writes a new file.
        Lines of other columns are kept as comments.

    Raises
    ------
    InputError
        The existing file is no learning curve.
    """

    def __init__(
        self,
        path: Path,
        quantities: tuple[str, ...],
        *,
        validation: bool,
        continue_from: int | None = None,
    ) -> None:
        self.path, self.validation = path, validation
        header = "# {:5s}".format("step")
        for name in quantities:
            parts = (f"{name}_val", f"{name}_trn") if validation else (f"{name}_trn",)
            header += "  " + "".join(f" {part:>11s}" for part in parts)
        header += "   {:8s}".format("lr")
        kept: list[str] = []
        if continue_from is not None and path.exists():
            kept = _earlier_lines(path, header, continue_from)
        note = "# a column reads nan where the data hold no such label"
        with atomic_write(path) as file:
            file.write("\n".join([header, note, *kept, ""]).encode())

    def add(
        self, step: int, training: NDArray[np.float64], validation: NDArray | None, lr: float
    ) -> None:
        """Append one line.

        Parameters
        ----------
        step : int
            Finished steps.
        training, validation : (q,)
            Errors in the order of the quantities; `validation` only if the file has its columns.
        lr : float
            Learning rate.
        """
        line = f"{step:7d}"
        for k, value in enumerate(training):
            if self.validation:
                assert validation is not None
                line += f"   {validation[k]:11.2e} {value:11.2e}"
            else:
                line += f"   {value:11.2e}"
        line += f"   {lr:8.1e}\n"
        with named(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(line)


def _earlier_lines(path: Path, header: str, last: int) -> list[str]:
    """Lines of a file up to the step `last`, as comments if they are below another header."""
    kept: list[str] = []
    try:
        text = text_of(path, MOST_TEXT)
        # a full disk leaves a line without its end, whose step may lack digits
        lines = text[: text.rfind("\n") + 1].splitlines()
        for line in lines:
            if line.split() and not line.startswith("#") and int(line.split()[0]) <= last:
                kept.append(line)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)})") from None
    except ValueError:
        raise InputError(f"{path}: not a learning curve, expected the one of the training to "
                         "continue, or none") from None
    if kept and lines[0].split() != header.split():
        return [f"# {line.strip('# ')}" for line in (lines[0], *kept)]
    return kept


def log_header(columns: Sequence[str], *, validation: bool) -> list[str]:
    """Two lines over those that a training prints: names and units of its errors.

    Parameters
    ----------
    columns : sequence of str
        Terms of the loss, as in `nvnmd.inputs.loss_terms.COLUMNS`.
    validation : bool
        Whether the errors on the validation part stand beside those of the batch.
    """
    both = zip(("loss", ""), *(NAMES[term] for term in columns), strict=True)
    names, units = (" ".join(f"{word:>9}" for word in words) for words in both)
    lines = [f"{'step: rmse':>18} {names}", f"{'':18} {units}"]
    if validation:
        lines = [f"{line}  {'':10} {part}"
                 for line, part in zip(lines, (names, units), strict=True)]
    return [line.rstrip() for line in lines]


def read_lcurve(path: str | Path) -> NDArray[np.void]:
    """Read a learning curve as a structured array with the file's column names.

    Raises
    ------
    InputError
        The file is missing or has no header line.
    """
    try:
        lines = text_of(path, MOST_TEXT).splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)})") from None
    names = lines[0].lstrip("# ").split() if lines else []
    if not names or names[0] != "step":
        raise InputError(f"{path}: expected a header line that begins with '# step'")
    kinds = [(name, np.int64 if name == "step" else np.float64) for name in names]
    rows = []
    for number, line in enumerate(lines, start=1):
        if line[:1] == "#":
            continue
        try:
            step, *values = (float(word) for word in line.split())
            if len(values) != len(names) - 1:
                raise ValueError(f"{len(values) + 1} columns")
            rows.append((int(step), *values))
        except (ValueError, OverflowError) as error:
            raise InputError(f"{path}: line {number}: not one of a learning curve "
                             f"({one_line(error)}), expected {len(names)} numbers") from None
    try:
        return np.array(rows, dtype=kinds)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path}: not a learning curve ({one_line(error)})") from None
