"""`nvnmd ipi-driver`: a model as a force provider of i-PI."""

from __future__ import annotations

import argparse
from typing import Any

from nvnmd.cli.common import add_backend, add_command, add_overflow, open_backend, positive
from nvnmd.messages import log


def add_commands(commands: Any) -> None:
    """Add the command of this group."""
    parser = add_command(
        commands, "ipi-driver", run, summary="forces of a model for i-PI, over its sockets",
        description="Connect to a running i-PI as a driver (its `ffsocket`) and answer until it "
                    "ends. In the process of i-PI itself (`ffdirect`), load "
                    "nvnmd/integrations/ipi.py instead.",
        examples=["-m nvnmd_qnn -t start.xyz --unix driver",
                  "-m nvnmd_qnn -t start.xyz --host node1 --port 31415"])
    parser.add_argument("-m", "--model", metavar="MODEL", required=True,
                        help="a model, as for `nvnmd test`")
    parser.add_argument("-t", "--template", metavar="FILE", required=True,
                        help="a structure that ASE reads, for the elements of the atoms; or the "
                             "elements, separated by commas")
    parser.add_argument("--unix", metavar="NAME",
                        help="name or path of a unix socket (i-PI's address)")
    parser.add_argument("--host", default="localhost", help="host of an inet socket "
                        "(default: localhost)")
    parser.add_argument("--port", type=positive, default=31415,
                        help="port of an inet socket (default: 31415)")
    parser.add_argument("--open", action="store_true", help="open boundaries: ignore "
                        "i-PI's cell")
    parser.add_argument("--wait", metavar="S", type=positive, default=30,
                        help="seconds to try to connect (default: 30)")
    add_backend(parser)
    add_overflow(parser)


def run(args: argparse.Namespace) -> int:
    """Run `nvnmd ipi-driver`."""
    from nvnmd.integrations.ipi import Driver, connect, drive

    with open_backend(args) as backend:
        driver = Driver(args.model, args.template, backend, periodic=not args.open,
                        overflow=args.overflow)
        with connect(args.host, args.port, args.unix, args.wait) as line:
            steps = drive(line, driver)
    log(f"{steps} evaluations")
    return 0
