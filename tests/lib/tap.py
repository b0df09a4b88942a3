# SPDX-License-Identifier: MIT
"""The Test Anything Protocol: what a test prints for prove."""

import sys
import traceback

_count = 0
_failed = 0


def ok(condition, name, detail=""):
    """Report one test. `detail` is shown when it failed."""
    global _count, _failed
    _count += 1
    print(f"{'ok' if condition else 'not ok'} {_count} - {name}", flush=True)
    if not condition:
        _failed += 1
        diag(detail)
    return bool(condition)


def equal(got, expected, name):
    return ok(got == expected, name, f"got      {got!r}\nexpected {expected!r}")


def skip(name, why):
    global _count
    _count += 1
    print(f"ok {_count} - {name} # SKIP {why}", flush=True)


def diag(text):
    for line in str(text).splitlines():
        print(f"# {line}", file=sys.stderr, flush=True)


def attempt(name, function, *args):
    """One test that is a function: it passes when the function returns, fails when it raises."""
    try:
        function(*args)
    except Exception as error:  # whatever went wrong is the test's result
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename}:{where.lineno}"
        return ok(False, name, f"{type(error).__name__}: {error}\nat {place}")
    return ok(True, name)


def forward(lines, prefix):
    """Report again, under our own numbers, what another program printed as TAP.

    True if it was complete: a plan, and as many results as the plan says. What stands between two
    results (comments, log lines) is shown if one of the two is a failure.
    """
    plan, seen, before, failed = None, 0, [], False
    for line in lines:
        line = line.rstrip()
        if line.startswith("1.."):
            plan = int(line[3:].split()[0])
        elif line.startswith(("ok ", "not ok ")):
            good = line.startswith("ok ")
            name = line.split(" - ", 1)[-1]
            seen += 1
            if failed or not good:
                diag("\n".join(before))
            before, failed = [], not good
            if "# SKIP" in name:
                skip(prefix + name.split(" # SKIP")[0], name.split("# SKIP", 1)[1].strip())
            else:
                ok(good, prefix + name)
        else:
            before = before[-20:] + [line]
    return plan is not None and plan == seen


def done():
    """Print the plan and end the program."""
    print(f"1..{_count}", flush=True)
    sys.exit(1 if _failed else 0)
