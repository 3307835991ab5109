"""Where things are kept that can be made again, and what happens where no such place is."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

SETTING = "NVNMD_CACHE"
"""Environment variable with a folder for the caches of this package."""


def user_caches() -> Path:
    """The user's folder of caches: `$XDG_CACHE_HOME`, else `~/.cache`; it may not exist."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    # a relative path there is to be ignored, says the XDG base directory specification
    if os.path.isabs(given):
        return Path(given)
    home = os.path.expanduser("~")
    return Path(home) / ".cache"


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # permissions do not tell: read-only file systems, full quotas, folders of /proc
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def cache_folder(name: str) -> Path:
    """A folder of this package's cache.

    It lies in `$NVNMD_CACHE`, else in `nvnmd` of the user's folder of caches. Where that cannot be
    written, it is a temporary one that goes when the program ends; this is said once.

    Parameters
    ----------
    name : str
        What is kept there: "simulators".
    """
    given = os.environ.get(SETTING)
    top = Path(given).absolute() if given else user_caches() / "nvnmd"
    if writable(top / name):
        return top / name
    say_once(f"{top} cannot be written, nothing is cached; set {SETTING} to a folder that can")
    return temporary_cache() / name


def cache_of_others() -> Path:
    """Where other programs keep theirs if the user's folder of caches cannot be written.

    It is a folder of `$NVNMD_CACHE`, where that is set and can be written, else a temporary one.
    """
    given = os.environ.get(SETTING)
    if given and writable(folder := Path(given).absolute() / "others"):
        return folder
    return temporary_cache()


@functools.cache
def temporary_cache() -> Path:
    """A folder for what cannot be cached; it is removed when the program ends."""
    folder = Path(tempfile.mkdtemp(prefix="nvnmd_cache_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def say_once(line: str) -> None:
    """Show a warning, but no second time in this process."""
    print(f"nvnmd: warning: {line}", file=sys.stderr, flush=True)
