"""From data to hardware: Deep Potential models for non von Neumann molecular dynamics.

The names of the Python interface are here, each loaded when it is first asked for. The files beside
this one are the lowest floor (errors, files, programs of others) and import no room. Start with
docs/architecture.md; in Python, with `load_model`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nvnmd.boards.connect import connect
    from nvnmd.evaluation.potential import Potential, Prediction, load_model
    from nvnmd.integrations.ase import NVNMD

    __version__: str

__all__ = ["NVNMD", "Potential", "Prediction", "__version__", "connect", "load_model"]


def __getattr__(name: str) -> Any:
    # the installed metadata is the one place of the version, and slow to read
    if name == "__version__":
        from nvnmd.version import program_version

        return program_version()
    # the rest is slow to import, and the command line starts here too
    if name == "NVNMD":
        from nvnmd.integrations.ase import NVNMD

        return NVNMD
    if name == "connect":
        from nvnmd.boards.connect import connect

        return connect
    if name in __all__:
        from nvnmd.evaluation import potential as api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
