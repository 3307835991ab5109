"""The version of this program, from the one place that holds it: the installed metadata."""

from __future__ import annotations


def program_version() -> str:
    """Return the version; the metadata are slow to read, so only where it is shown or kept."""
    from importlib.metadata import version

    return version("nvnmd")
