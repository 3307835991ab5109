"""Twenty faults, each planted in a copy of the installed package: the tests must find every one.

    python tests/support/planted_faults.py [FILE ...]

takes the package that this Python has installed and the tests of the current folder. A fault is a
text that stands once in the package, what replaces it, and the file of tests that must fail; the
same tests must pass without it. FILE chooses the faults of some files of tests. Files are found by
name, so that older trees can be tried, too.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FAULTS: dict[str, tuple[str, str, str]] = {
    "rounded up instead of down": (
        "return xp.floor(v * float(1 << bits)) * 2.0**-bits",
        "return xp.ceil(v * float(1 << bits)) * 2.0**-bits", "test_golden.py"),
    "a product to fixed point is twice as large": (
        "trunc_flt(b, frac, xp) * float(1 << fix_frac)",
        "trunc_flt(b, frac, xp) * float(2 << fix_frac)", "test_golden.py"),
    "tanh4 saturates early": (
        "y = xp.where(a < 2.0, y, y * 0 + 1.0)", "y = xp.where(a < 1.9, y, y * 0 + 1.0)",
        "test_golden.py"),
    "sign of the force": (
        "slope[:, :, 1 + axis, axis] = -1.0", "slope[:, :, 1 + axis, axis] = 1.0",
        "test_golden.py"),
    "displacements of the forces are not cut": (
        "r = trunc_flt(rij)\n", "r = rij\n", "test_golden.py"),
    "highest coefficient of a table's row": (
        "a = (dx * slope1 - 2.0 * y1", "a = (dx * slope1 - 1.0 * y1", "test_tables.py"),
    "cubic of a table's row": (
        "- 2.0 * dx * slope0 - 3.0 * y0) / dx**2", "- 1.0 * dx * slope0 - 3.0 * y0) / dx**2",
        "test_tables.py"),
    "second derivative of the switch": (
        "sw2 = -60.0 * t", "sw2 = 60.0 * t", "test_tables.py"),
    "second derivative of a layer": (
        "y2 = slope * (x2 @ weight) - 2.0 * y * y1 * z1",
        "y2 = slope * (x2 @ weight) - y * y1 * z1", "test_tables.py"),
    "stairs that begin before the warm-up ends": (
        "max(step - self.warmup_steps, 0) // self.decay_steps",
        "step // self.decay_steps", "test_schedule.py"),
    "share of the learning rate": (
        "return limit + (start - limit) * share", "return limit + start * share",
        "test_schedule.py"),
    "weight of single atoms' forces": (
        'labels["atom_pref"][..., None] * square) / (3.0 * atoms)',
        'labels["atom_pref"][..., None] * square) / (atoms)', "test_tf_loss.py"),
    "Adam's epsilon inside the root": (
        "(np.sqrt(second[k]) + EPSILON)", "np.sqrt(second[k] + EPSILON)",
        "test_tf_compiled_model.py"),
    "last frames of an epoch are not drawn": (
        "if self.used[system] + size > len(self.orders[system]):",
        "if self.used[system] + size >= len(self.orders[system]):",
        "test_system_probability.py"),
    "positions below zero are not wrapped": (
        "f = np.where(f < 0.0, f + 1.0, f)", "f = np.where(f < 0.0, f, f)", "test_neighbors.py"),
    "order of equal neighbours": (
        "rank[order[j - 1]] > rank[who]", "rank[order[j - 1]] < rank[who]",
        "test_neighbors_fast.py"),
    "exponent after normalizing": (
        "exp3.eq(exp2 + (width - 1) - zeros2)", "exp3.eq(exp2 + width - zeros2)",
        "test_hdl_arith.py"),
    "sign after normalizing": (
        "sign2.eq(sign1)", "sign2.eq(0)", "test_hdl_arith.py"),
    "limit that the help shows": (
        "\nMAX_FLOAT_ERROR = 2e-3\n\n\ndef add_commands",
        "\nMAX_FLOAT_ERROR = 1e-3\n\n\ndef add_commands", "test_cli.py"),
    "wrong exit code of a mistake in the input": (
        "(exit code 2).\"\"\"\n\n    exit_code = 2", "(exit code 2).\"\"\"\n\n    exit_code = 1",
        "test_cli.py"),
}


def plant(package: Path, old: str, new: str) -> bool:
    """Replace a text that stands once in the files of a package; False if it does not."""
    files = [file for file in package.rglob("*.py")
             if file.read_text(encoding="utf-8").count(old) == 1]
    if len(files) != 1:
        return False
    text = files[0].read_text(encoding="utf-8").replace(old, new)
    files[0].write_text(text, encoding="utf-8")
    return True


def run(site: Path, file: str) -> int:
    """Exit code of the tests of one file with the packages of a folder first."""
    (tests,) = Path("tests").rglob(file)
    return subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-qx", "-m", "not slow and not peer", str(tests)],
        env={**os.environ, "PYTHONPATH": str(site)}, stdout=subprocess.DEVNULL, check=False
    ).returncode


def main() -> int:
    """Plant each fault alone; the exit code is 1 if one is missed."""
    found = importlib.util.find_spec("nvnmd")
    assert found is not None and found.origin is not None
    installed = Path(found.origin).parent
    missed = 0
    clean: dict[str, int] = {}
    chosen = {name: fault for name, fault in FAULTS.items()
              if not sys.argv[1:] or fault[2] in sys.argv[1:]}
    for name, (old, new, file) in chosen.items():
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / "nvnmd"
            shutil.copytree(installed, package, ignore=shutil.ignore_patterns("__pycache__"))
            if file not in clean:
                clean[file] = run(Path(folder), file)
            planted = plant(package, old, new)
            code = run(Path(folder), file) if planted else 0
        # 1: tests failed; any other code would be a fault of this script
        caught = planted and clean[file] == 0 and code == 1
        missed += not caught
        state = "caught" if caught else f"MISSED (planted {planted}, {clean[file]} -> {code})"
        print(f"{state}: {name} ({file})", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
