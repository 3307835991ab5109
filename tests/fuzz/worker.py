"""Reads files in a process of its own: one that hangs or dies is seen from outside.

Takes lines ``FORMAT FOLDER BYTES`` and answers each with a line of JSON. Memory beyond what the
process had, a fixed part and a ratio of the file's size is not to be had.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path

# compiled passes are slow to make and read no files
sys.modules["numba"] = None  # type: ignore[assignment]

from fuzz.formats import FORMATS

from nvnmd import threads
from nvnmd.errors import NvnmdError

FIXED, RATIO = 192 << 20, 200
"""Memory that reading may take: bytes, and this many times the file's size."""


def used() -> int:
    """Bytes of address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def attempt(name: str, folder: Path, size: int) -> dict[str, object]:
    """Read once."""
    most, begin = used() + FIXED + RATIO * size, time.process_time()
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    try:
        answer: dict[str, object] = {"found": "accepted", "digest": FORMATS[name].read(folder)}
    except NvnmdError as error:
        text = str(error)
        # several mistakes of a document have a line each
        good = error.exit_code in (1, 2) and all(
            str(folder) in line for line in text.splitlines()) and bool(text) and len(text) < 20_000
        many = name != "json" and "\n" in text
        answer = {"found": "refused" if good and not many else "bad message", "text": text}
    except Exception:
        answer = {"found": "traceback", "text": traceback.format_exc()}
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return answer | {"seconds": time.process_time() - begin, "peak": peak()}


def main() -> None:
    threads.installed.cache_clear()
    threads.installed = lambda: False
    warnings.simplefilter("error")
    for name in ("ase.io", "dpdata", "h5py"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # what is there now is no garbage, and need not be looked through after each file
    gc.freeze()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        name, folder, size = line.rstrip("\n").split("\t")
        print(json.dumps(attempt(name, Path(folder), int(size))), flush=True)


if __name__ == "__main__":
    main()
