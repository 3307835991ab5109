"""Numba's `njit`, for machines on which no compiled code can be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from nvnmd.cache_folder import say_once


def njit(function: Callable | None = None, **options: Any) -> Any:
    """Compile a function; without a cache where no folder for it can be written.

    Numba keeps compiled code beside the source or in the user's folder of caches, and raises where
    it can write neither. Then every process compiles what it uses; this is said once.

    Parameters
    ----------
    function : callable, optional
        What to compile, if this is used as a decorator without options.
    **options
        As `numba.njit` takes them.
    """
    if function is not None:
        return numba.njit(function)

    def decorate(function: Callable) -> Any:
        try:
            return numba.njit(**options)(function)
        except RuntimeError as error:
            if "cannot cache function" not in str(error):
                raise
        say_once("compiled code cannot be kept beside the program or in the user's folder of "
                 "caches, so it is compiled anew at every start; NUMBA_CACHE_DIR names another "
                 "folder")
        return numba.njit(**{**options, "cache": False})(function)

    return decorate
