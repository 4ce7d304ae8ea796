"""Runs the 37 checks on both sides and writes docs/quantizer_conformance.md.

python -m tests.quantize.conformance
"""

import importlib.metadata
import sys
from pathlib import Path

import pytest
import torch

from .adapters import SIDES
from .peers import FAILS

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "quantizer_conformance.md"
PEER = "vector-quantize-pytorch"
HEAD = """# What the quantizers mean, check by check

{ours} of {all} checks pass here; {peer} of {all} in {name} {version}, with the plain straight-through
gradient. A mark is what the check found, not what it was expected to find. What each check does is in
[tests/quantize/conformance](../tests/quantize/conformance/__init__.py). Made by
`python -m tests.quantize.conformance` with torch {torch}.

| check | speechvq | {name} {version} | seen |
|---|---|---|---|
"""


class Listener:
    """Keeps (check, side) to whether it passed, in the order of the run."""

    def __init__(self):
        self.passed = {}

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and "test_check_" in report.nodeid:
            check, side = report.nodeid.rpartition("::")[2].removeprefix("test_").rstrip("]").split("[")
            self.passed.setdefault(check, {})[side] = report.passed


def page(passed):
    """The page as text."""
    peer, marks = importlib.metadata.version(PEER), {True: "pass", False: "**fail**"}
    lines = [
        f"| {check.replace('_', ' ')} | {marks[by['ours']]} | {marks[by[PEER]]} | "
        f"{'' if by[PEER] else FAILS.get(check, '')} |"
        for check, by in passed.items()
    ]
    counts = {side: sum(by[side] for by in passed.values()) for side in SIDES}
    head = HEAD.format(
        ours=counts["ours"], peer=counts[PEER], all=len(passed), name=PEER, version=peer,
        torch=torch.__version__,
    )  # fmt: skip
    return head + "\n".join(lines) + "\n"


def main():
    """Run and write; the exit code is pytest's."""
    listener = Listener()
    files = sorted(map(str, HERE.glob("test_check_*.py")))
    code = pytest.main(["-q", "-p", "no:cacheprovider", *files], plugins=[listener])
    PAGE.write_text(page(listener.passed))
    sys.stdout.write(f"{PAGE.relative_to(HERE.parents[2])}: {len(listener.passed)} checks\n")
    return int(code)


if __name__ == "__main__":
    raise SystemExit(main())
