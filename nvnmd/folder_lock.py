"""A folder for one process at a time.

While a process has a folder, a file in it names the host and the process. The operating system's
lock on that file (`flock`) says whether the process still runs: it goes with the process, however
that ends, so that a file without a lock is an abandoned one and is taken over. Network file
systems that pass such locks on to their server (NFS 4, and NFS 3 with its lock service) keep out
other hosts, too. Where a file system has no locks, the names in the file decide: a process of
this host is looked for, and one of another host is believed to run until the file is removed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nvnmd.errors import InputError

# how flock answers where there are no locks
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def check_unlocked(file: Path) -> None:
    """Raise InputError where another process has the folder of this lock file; touch nothing."""
    try:
        handle = os.open(file, os.O_RDWR)
    except OSError:
        return
    try:
        _take(handle, file)
    finally:
        os.close(handle)


@contextmanager
def locked(file: Path, log: Callable[[str], None]) -> Iterator[None]:
    """Have the folder of a lock file to oneself; the file is gone afterwards.

    Parameters
    ----------
    file : Path
        The lock file, whose folder exists.
    log : callable
        Told where an abandoned lock is taken over.

    Raises
    ------
    InputError
        Another process has the folder; the message names it.
    """
    handle = _open(file)
    try:
        owner = _owner(handle)
        if owner:
            log(f"{file}: left behind by process {owner.get('pid')} on {owner.get('host')}, which "
                "has ended; taken over")
        content = {"host": socket.gethostname(), "pid": os.getpid(),
                   "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(handle, 0)
        os.pwrite(handle, (json.dumps(content) + "\n").encode(), 0)
        yield
    finally:
        # first the name, then the lock: whoever opened the file meanwhile sees that it is gone
        file.unlink(missing_ok=True)
        os.close(handle)


def _open(file: Path) -> int:
    """Open the lock file and lock it."""
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take(handle, file)
            here = os.fstat(handle)
            there = os.stat(file)
            if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                return handle
        except FileNotFoundError:
            # its owner ended between the two calls
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _take(handle: int, file: Path) -> None:
    """Lock an open lock file, or raise InputError with the name of the process that has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    except BlockingIOError:
        owner = _owner(handle)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        owner = _owner(handle)
        if not owner or _ended(owner):
            return
    where = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}"
    raise InputError(
        f"{file.parent}: {where} has worked here since {owner.get('since', '?')}, expected a "
        "folder of its own for each run (choose another with -o; if that process has ended, remove "
        f"{file})"
    )


def _owner(handle: int) -> dict[str, object]:
    """Read the owner of a lock file; empty where no owner is written."""
    try:
        found = json.loads(os.pread(handle, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _ended(owner: dict[str, object]) -> bool:
    """Whether the process is one of this host that is no more."""
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return pid == os.getpid()
