#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The protocols of docs/epochs.md in Promela, explored by spin.

Each model must hold in every interleaving, and spin must find each mistake that can be switched on
in it: as an assertion that fails, or as a wait that never ends.

    tests/model/epoch.t [MODEL [MISTAKE]]      only these; with a mistake, the shortest way to it
"""

import concurrent.futures
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from lib import tap

SECONDS, MEGABYTES = 240, 1000
ASSERTION, DEADLOCK = "assertion violated", "invalid end state"

# Mistakes by model. A mistake is to be found as an assertion, if nothing else is said.
MISTAKES = {
    "epoch": """STAMP_AT_UNMAP STAMP_BEFORE_FENCE RELEVANT_BEFORE_CLEAR SEEN_EQUAL
        LAZY_TLB LAZY_TLB_COUNTED:deadlock NO_SWITCHING LOADED_BEFORE_CR3 KEEP_OVER_SWITCH
        SEEN_IN_SECTION READ_E_AFTER_FLUSH PUBLISH_BEFORE_FLUSH KERNEL_THREAD_HOLDS""",
    "revoke": """FLAG_BEFORE_DESC FLAG_AFTER_ENTRY DESC_AFTER_SETTING SETTING_WITHOUT_BARRIER
        SETTING_NOT_AWAITED FLAG_PLAIN_STORE FLAG_LOWERED_EARLY LIVE_BEFORE_ENTRY
        CLEARED_BEFORE_CLEAR WARM_WITHOUT_SWAP FAULT_WITHOUT_MAP_LOCK FAULT_WITHOUT_PIN
        UNMAP_IGNORES_PIN REVOKE_AWAITS_PIN:deadlock NO_FLUSH FLUSH_LEAVES_ONLY FREED_AT_ONCE
        STAMP_BEFORE_CLEAR""",
    "fsync": """CLEAR_BIT_FIRST CLEAR_BIT_AFTER_SHOOTDOWN WRITE_BACK_BEFORE_SHOOTDOWN
        BIT_WITHOUT_LOCK GRANT_AFTER_UNLOCK BIT_AFTER_UNLOCK ZOMBIES_SKIPPED
        SECOND_NOT_WAITING MSYNC_CLEANS_CHUNK""",
    "shadow": """LOOK_BEFORE_STORE READ_BEFORE_KNOWN TELL_WITHOUT_LOCK TELL_AFTER_UNSHARE
        TELL_BEFORE_CUT CUT_UNTOLD""",
}

# Other ways to do it that are right, too.
VARIANTS = {"fsync": ["TWO_SECTIONS"]}

# A mistake shows in a smaller run than the one that looks everywhere.
SMALLER = {"epoch": ["-DLIVES=1"], "revoke": ["-DMAPS=2", "-DREVOKES=2"], "fsync": [],
           "shadow": []}


def run(folder, *command):
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=SECONDS, check=False)
    # Their status is 0 after an error found, too; what they print is what counts.
    return done.stdout.decode("latin-1")


def explore(folder, model, switches=(), compiler=(), options=()):
    """What the verifier prints. `folder` is left with what spin needs to replay an error."""
    made = run(folder, "spin", *switches, "-a", str(HERE / f"{model}.pml"))
    if not (pathlib.Path(folder) / "pan.c").exists() or "rror:" in made:
        raise AssertionError(made)
    made = run(folder, "gcc", "-O1", "-w", "-DSAFETY", f"-DMEMLIM={MEGABYTES}", *compiler,
               "-o", "pan", "pan.c")
    if made:
        raise AssertionError(made)
    return run(folder, "./pan", "-m1000000", *options)


def states(text):
    return int(float(re.search(r"(\S+) states, stored", text).group(1)))


def holds(model, variant=None):
    with tempfile.TemporaryDirectory() as folder:
        text = explore(folder, model, [f"-D{variant}"] if variant else [])
    assert "errors: 0" in text, text
    # Not everything seen is not a proof.
    assert "Search not completed" not in text and "error:" not in text, text
    return f"{states(text):,} states"


def found(model, mistake):
    name, _, kind = mistake.partition(":")
    options, expected = ([], DEADLOCK) if kind else (["-E"], ASSERTION)
    with tempfile.TemporaryDirectory() as folder:
        text = explore(folder, model, [f"-D{name}", *SMALLER[model]], [], options)
    first = next((line for line in text.splitlines() if line.startswith("pan:1:")), "")
    assert expected in first and "errors: 1" in text, text
    return f"{expected} after {states(text):,} states"


def show(model, mistake):
    """The shortest counterexample, step by step."""
    with tempfile.TemporaryDirectory() as folder:
        switches = [f"-D{mistake}", *SMALLER[model]]
        print(explore(folder, model, switches, ["-DBFS"], []))
        trail = pathlib.Path(folder) / f"{model}.pml.trail"
        print(run(folder, "spin", *switches, "-p", "-g", "-k", str(trail),
                  str(HERE / f"{model}.pml")))


def main():
    if len(sys.argv) > 2:
        show(*sys.argv[1:3])
        return
    tests = []
    for model in sys.argv[1:] or MISTAKES:
        tests.append((f"{model}: holds", holds, model))
        tests += [(f"{model}: {v} holds, too", holds, model, v) for v in VARIANTS.get(model, [])]
        tests += [(f"{model}: {m.partition(':')[0]} is found", found, model, m)
                  for m in MISTAKES[model].split()]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = [(name, pool.submit(*test)) for name, *test in tests]
        for name, result in results:
            try:
                tap.ok(True, f"{name} ({result.result()})")
            except Exception as error:  # whatever went wrong is the test's result
                tap.ok(False, name, f"{type(error).__name__}: {error}")
    tap.done()


main()
