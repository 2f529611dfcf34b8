#!/usr/bin/env python3
"""Tortures a server over loopback, and checks that nothing comes of it.

Usage: torture.py SERVER [--short] [--only sockets,bodies,cancelled,apart,alive] [--seed N]

SERVER is the example `synthetic_server`: the whole server on a model that costs nothing.
Needs Linux (/proc) and nothing but Python 3.11. Prints a line for each check; ends with 1 if
any of them failed. `--short` is for CI. Figures: memory is what was allocated (RssAnon and
VmSwap), times of /health are those that a client sees.
"""

import argparse
import asyncio
import random
import resource
import sys
import traceback

import alive
import apart
import bodies
import cancelled
import sockets
from report import Report

ALL = {"apart": apart, "alive": alive, "sockets": sockets, "cancelled": cancelled, "bodies": bodies}
# Seconds that a part may take; one that hangs is a failure, not a wait.
SHORT, LONG = 120, 3600


async def torture(args):
    report = Report()
    for name in args.only.split(",") if args.only else ALL:
        try:
            async with asyncio.timeout(SHORT if args.short else LONG):
                await ALL[name].run(report, args.server, args.short, random.Random(args.seed))
        except Exception as error:
            traceback.print_exc()
            report.check(f"{name}: ran to its end", False, repr(error))
    return report.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server")
    parser.add_argument("--short", action="store_true", help="what CI has time for")
    parser.add_argument("--only", help="some of the parts: " + ", ".join(ALL))
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    # Both sides of every connection want a file; the server inherits this limit.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    sys.exit(asyncio.run(torture(args)))


main()
