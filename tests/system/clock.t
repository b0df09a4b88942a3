#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The clock's rate, found at boot, on a busy host.

A stress test once ran ten times as long as it was told to: the TSC had been taken for 26 GHz. The
measurement waited for the PIT to come to its end, and the host's scheduler was elsewhere when it
did, three times in a row. Here machines that boot together disturb each other; all must find the
same rate, as they have the same TSC.
"""

import concurrent.futures
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from lib import guest, tap
from lib.machine import Config

MACHINES = 6


def rate_of(config):
    log = guest.run(config, "true", 60, lambda data: None, "clock").log
    return float(re.search(r"TSC runs at ([0-9.]+) MHz", log).group(1))


with concurrent.futures.ThreadPoolExecutor(MACHINES) as pool:
    rates = list(pool.map(rate_of, [Config(smp=4)] * MACHINES))
tap.ok(max(rates) < min(rates) * 1.01, "machines that boot together find one rate", rates)
exact = rate_of(Config(icount=True))
tap.ok(abs(exact - 1000) < 1, "one tick per instruction is 1000 MHz", exact)
tap.done()
