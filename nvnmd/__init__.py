"""From data to hardware: Deep Potential models for non von Neumann molecular dynamics."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    # the installed metadata is the one place of the version, and slow to read
    if name == "__version__":
        from importlib.metadata import version

        return version("nvnmd")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
