"""Who imports whom: the floors of docs/architecture.md hold for every import of the program."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"nvnmd.hdl": "hdl", "nvnmd.mapping": "mapping", "nvnmd.quantize": "quantize",
            "nvnmd.sim": "sim", "nvnmd.boards": "boards", "nvnmd": "nvnmd"}
ROW = re.compile(r"\| (\d+) \| `([^`]+)` \|[^|]*\|([^|]*)\|")
# where TensorFlow may be imported
WITH_TENSORFLOW = ("nvnmd/training/", "quantize/tensorflow/")


def floors(text: str) -> dict[str, tuple[int, set[str]]]:
    """Floor, and rooms of the same floor that may be seen, of each room of the table."""
    return {room: (int(floor), set(re.findall("`([^`]+)`", also)))
            for floor, room, also in ROW.findall(text)}


@cache
def sources() -> dict[str, str]:
    """The file of each module, relative to the repository."""
    found = {}
    for package, top in PACKAGES.items():
        for file in sorted((ROOT / top).rglob("*.py")):
            parts = file.relative_to(ROOT / top).with_suffix("").parts
            name = ".".join([package, *(part for part in parts if part != "__init__")])
            found[name] = file.relative_to(ROOT).as_posix()
    return found


def imported(module: str, text: str, modules: dict[str, str]) -> set[str]:
    """Modules that a source imports, inside functions and for types, too."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            base = node.module or ""
            for name in node.names:
                inside = f"{base}.{name.name}"
                found.add(inside if inside in modules else base)
    return {name for name in found if name.split(".")[0] in ("nvnmd", "tensorflow", "keras")}


@cache
def imports() -> dict[str, set[str]]:
    """What each file of the program imports: files, or `tensorflow`."""
    modules = sources()
    graph = {}
    for module, file in modules.items():
        names = imported(module, (ROOT / file).read_text(encoding="utf-8"), modules)
        unknown = {n for n in names if n.startswith("nvnmd") and n not in modules}
        assert not unknown, f"{file}: imports {unknown}"
        graph[file] = {modules.get(name, "tensorflow") for name in names} - {file}
    return graph


def room_of(file: str, table: dict) -> str:
    """The longest room that holds a file."""
    rooms = [room for room in table if file == room or (room.endswith("/") and
                                                        file.startswith(room))]
    assert rooms, f"{file}: in no room of docs/architecture.md"
    return max(rooms, key=len)


def looks_up(graph: dict[str, set[str]], table: dict) -> list[str]:
    """Imports that the table does not allow."""
    wrong = []
    for file, targets in graph.items():
        room = room_of(file, table)
        floor, also = table[room]
        for target in sorted(targets - {"tensorflow"}):
            other = room_of(target, table)
            below = table[other][0] < floor
            if not (other == room or below or other in also):
                wrong.append(f"{file} ({room}, floor {floor}) imports {target} "
                             f"({other}, floor {table[other][0]})")
    return wrong


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Chains of imports that lead back to their start, one for each file that closes one."""
    state: dict[str, int] = {}
    found: list[str] = []

    def visit(file: str, path: list[str]) -> None:
        state[file] = 1
        for target in sorted(graph.get(file, ())):
            if state.get(target) == 1:
                found.append(" -> ".join([*path[path.index(target):], target]))
            elif target not in state:
                visit(target, [*path, target])
        state[file] = 2

    for file in graph:
        if file not in state:
            visit(file, [file])
    return found


@pytest.fixture(scope="module")
def table() -> dict[str, tuple[int, set[str]]]:
    return floors((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))


def test_no_room_looks_up(table):
    wrong = looks_up(imports(), table)
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_imports():
    found = circles(imports())
    assert not found, "\n".join(found)


def test_tensorflow_only_in_training():
    users = {file for file, targets in imports().items() if "tensorflow" in targets}
    assert users and all(file.startswith(WITH_TENSORFLOW) for file in users), users


def test_every_room_has_a_first_page(table):
    for room in table:
        if room.endswith("/") and (ROOT / room).is_dir():
            text = (ROOT / room / "__init__.py").read_text(encoding="utf-8")
            words = " ".join((ast.get_docstring(ast.parse(text)) or "").split())
            assert room == "nvnmd/" or ("May import" in words and "Start with" in words), room
            heavy = imported(room, text, sources())
            assert room == "nvnmd/" or not heavy, f"{room}: __init__ imports {heavy}"


def test_every_folder_is_in_the_table(table):
    for file in imports():
        assert f"{Path(file).parent.as_posix()}/" in table or file in table, file


def test_the_checks_see_faults(table):
    graph = {"nvnmd/errors.py": {"nvnmd/data/systems.py"}, "nvnmd/data/systems.py": set(),
             "hdl/atom/descriptor.py": {"hdl/fitting/net.py"}, "hdl/fitting/net.py": set()}
    assert len(looks_up(graph, table)) == 2
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a -> b -> c -> a"]
    assert not circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})
