"""Where matplotlib keeps its list of fonts, on machines whose user has no folder for it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from nvnmd.cache_folder import temporary_cache, user_caches, writable

SETTING = "MPLCONFIGDIR"
"""matplotlib's environment variable for the folder of its settings and its cache."""


def prepare_fonts() -> None:
    """Give matplotlib a temporary folder where the user's cannot be written; call it before import.

    By itself it makes one, too, and warns at length. The list of fonts is made anew then, which
    takes about a second; on a slow machine matplotlib would speak of that as well.
    """
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    if os.environ.get(SETTING):
        return
    settings = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    if all(writable(folder / "matplotlib") for folder in (Path(settings), user_caches())):
        return
    folder = temporary_cache() / "matplotlib"
    folder.mkdir(exist_ok=True)
    os.environ[SETTING] = str(folder)
