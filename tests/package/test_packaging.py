"""What is shipped: every module in the wheel, and no heavy import where none belongs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {"nvnmd": "nvnmd", "hdl": "nvnmd.hdl", "mapping": "nvnmd.mapping",
         "quantize": "nvnmd.quantize", "sim": "nvnmd.sim", "boards": "nvnmd.boards"}


def modules() -> list[str]:
    """Every module of the source tree by its installed name."""
    found = []
    for top, package in ROOMS.items():
        for file in sorted((ROOT / top).rglob("*.py")):
            parts = file.relative_to(ROOT / top).with_suffix("").parts
            found.append(".".join([package, *(part for part in parts if part != "__init__")]))
    return found


def packages() -> set[str]:
    """Those of them that are folders."""
    return {name for name in modules() if any(other.startswith(f"{name}.") for other in modules())
            } | set(ROOMS.values())


def python(code: str, *args: str, cwd: Path) -> str:
    """Run code in a fresh interpreter away from the source tree; return what it printed."""
    done = subprocess.run([sys.executable, "-c", code, *args], cwd=cwd, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_folder_is_a_room():
    # a folder without its __init__ would import from the source tree and be missing from the wheel
    for top in ROOMS:
        for folder in {file.parent for file in (ROOT / top).rglob("*.py")}:
            assert (folder / "__init__.py").is_file(), folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy of the source tree."""
    have = importlib.util.find_spec("build") and importlib.metadata.version("setuptools")
    if not have or int(have.split(".")[0]) < 77:
        pytest.skip("building a wheel needs `build` and setuptools 77, as in requirements.txt")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in ROOMS:
        shutil.copytree(ROOT / folder, source / folder,
                        ignore=shutil.ignore_patterns("__pycache__"))
    python("import runpy, sys; sys.argv[0] = 'build'; runpy.run_module('build', "
           "run_name='__main__')", "--wheel", "--no-isolation", "--outdir", "dist", ".", cwd=source)
    (found,) = (source / "dist").glob("nvnmd-*.whl")
    return found


def test_wheel_holds_every_module_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    shipped = {name for name in names if name.endswith(".py")}
    folders, expected = packages(), set()
    for module in modules():
        base = module.replace(".", "/")
        expected.add(f"{base}/__init__.py" if module in folders else f"{base}.py")
    assert shipped == expected
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"nvnmd"}
    assert "nvnmd/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_every_module_imports_from_the_wheel(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    output = python(
        "import importlib, sys\n"
        "site, *names = sys.argv[1:]\n"
        "sys.path.insert(0, site)\n"
        # an editable install of the same package must not answer in its place
        "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in str(f)]\n"
        "for name in names:\n"
        "    assert importlib.import_module(name).__file__.startswith(site), name\n"
        "print(len(names))", str(tmp_path / "site"), *modules(), cwd=tmp_path)
    assert int(output) == len(modules())


NO_TENSORFLOW = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('tensorflow', 'keras'):
            raise ImportError(f'{name} must not be imported here')
sys.meta_path.insert(0, Refuse())
"""


WITH_TENSORFLOW = (
    "nvnmd.quantize.tensorflow.", "nvnmd.training.tf_", "nvnmd.training.continuous.tf_",
    "nvnmd.training.continuous.train", "nvnmd.training.continuous.compiled_model",
    "nvnmd.training.quantized.train", "nvnmd.training.quantized.model",
    "nvnmd.training.quantized.setup", "nvnmd.training.partial.")


def test_lower_rooms_import_without_tensorflow(tmp_path):
    names = [n for n in modules() if not n.startswith(WITH_TENSORFLOW)]
    code = NO_TENSORFLOW + ("import importlib\n"
                            "for name in sys.argv[1:]: importlib.import_module(name)\n"
                            "print('tensorflow' in sys.modules)")
    assert python(code, *names, cwd=tmp_path).strip() == "False"


@pytest.mark.parametrize("command", [[], ["train-cnn"], ["train-qnn"], ["map"], ["test"],
                                     ["export-hdl"], ["simulate"], ["demo"]])
def test_help_imports_nothing_heavy(command, tmp_path):
    code = ("import sys\n"
            "from nvnmd.cli.main import main\n"
            "try: main([*sys.argv[1:], '--help'])\n"
            "except SystemExit as end: assert end.code == 0\n"
            "heavy = {'numpy', 'tensorflow', 'amaranth', 'cocotb', 'dargs', 'rich', 'ase', "
            "'vesin', 'scipy', 'importlib.metadata'}\n"
            "print('loaded:', *sorted(heavy & set(sys.modules)))")
    output = python(code, *command, cwd=tmp_path)
    assert "usage: nvnmd" in output and "examples:" in output
    assert output.rstrip().endswith("loaded:")


def test_version(tmp_path):
    code = "import sys; from nvnmd.cli.main import main; main(['--version'])"
    assert python(code, cwd=tmp_path).strip() == f"nvnmd {importlib.metadata.version('nvnmd')}"
