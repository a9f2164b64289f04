"""What was checked of which peer, and how it went."""

import contextlib
import os
import sys
import textwrap
import traceback


class Absent(Exception):
    """A peer that cannot be had here, and why."""


class Failure(Exception):
    """Something is not as it should be."""


# Case, peer, what was checked, result, and why it failed or was skipped.
RESULTS = []
# The case that runs.
CASE = ""


def begin(case):
    global CASE
    CASE = case


def has_passed():
    """True when the last check has; what is built on it is left out otherwise."""
    return RESULTS[-1][3] == "passed"


@contextlib.contextmanager
def check(peer, what):
    """Records whether what is done within it holds."""
    try:
        yield
    except Absent as absent:
        record(peer, what, "skipped", str(absent))
    except Failure as failure:
        record(peer, what, "FAILED", str(failure))
    except Exception:
        # Such as an answer without a field that it must have: a failure too, told with its place.
        record(peer, what, "FAILED", traceback.format_exc(limit=-3).strip())
    else:
        record(peer, what, "passed", "")


def record(peer, what, result, why):
    RESULTS.append((CASE, peer, what, result, why))
    line = f"{result:8}{CASE}: {peer}: {what}"
    print(line + (f": {why}" if why else ""), file=sys.stderr, flush=True)


def expect(holds, otherwise):
    if not holds:
        raise Failure(otherwise)


def expect_same(found, wanted, what):
    if found != wanted:
        raise Failure(f"{what} is {found!r:.400}, not {wanted!r:.400}")


def print_results():
    headings = ("CASE", "PEER", "CHECK", "RESULT")
    rows = [headings, *(result[:4] for result in RESULTS)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    print()
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
    counts = {
        word: sum(result[3] == word for result in RESULTS)
        for word in ("passed", "FAILED", "skipped")
    }
    for word, headline in [("skipped", "SKIPPED, because"), ("FAILED", "FAILED, because")]:
        for case, peer, what, result, why in RESULTS:
            if result == word:
                print(f"\n{headline}: {case}: {peer}: {what}\n{textwrap.indent(why, '    ')}")
                if os.environ.get("GITHUB_ACTIONS") == "true" and word == "skipped":
                    print(f"::warning title=A peer was skipped::{peer}: {' '.join(why.split())}")
    print(f"\n{counts['passed']} passed, {counts['FAILED']} failed, {counts['skipped']} skipped")
    return counts["FAILED"] == 0 and counts["passed"] > 0
