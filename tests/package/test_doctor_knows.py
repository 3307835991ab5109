"""`nvnmd doctor` knows every command, and every extra of this package."""

from __future__ import annotations

import importlib.metadata
import re

from nvnmd.cli.main import build_parser
from nvnmd.external_tools import PROGRAMS
from nvnmd.reports.doctor import LIBRARIES, NEEDS


def test_what_every_command_needs():
    commands = set(build_parser().commands)
    assert set(NEEDS) == commands, (
        "nvnmd/reports/doctor.py: NEEDS must say of every command what it needs: "
        f"{set(NEEDS) ^ commands}")
    modules = {library.module for library in LIBRARIES}
    for libraries, programs in NEEDS.values():
        assert set(libraries) <= modules and set(programs) <= set(PROGRAMS)


def test_extras_bring_what_is_promised():
    brought: dict[str, set[str]] = {}
    for line in importlib.metadata.requires("nvnmd") or []:
        name = re.match(r"[A-Za-z0-9._-]+", line)[0]
        extra = re.search(r"extra == ['\"]([a-z]+)['\"]", line)
        brought.setdefault(extra[1] if extra else "", set()).add(name)
    for library in LIBRARIES:
        assert library.distribution in brought[library.extra], library
