"""From data to hardware: Deep Potential models for non von Neumann molecular dynamics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nvnmd.api import Potential, Prediction, load_model

    __version__: str

__all__ = ["Potential", "Prediction", "__version__", "load_model"]


def __getattr__(name: str) -> Any:
    # the installed metadata is the one place of the version, and slow to read
    if name == "__version__":
        from importlib.metadata import version

        return version("nvnmd")
    # the rest is slow to import, and the command line starts here too
    if name in __all__:
        from nvnmd import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
