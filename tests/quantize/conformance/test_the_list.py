"""The lists of checks, in words and in the table of results, are the checks that there are."""

import ast
import re
from pathlib import Path

from .peers import FAILS

HERE = Path(__file__).parent


def written():
    """The names of the checks, as functions."""
    for path in sorted(HERE.glob("test_check_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield node.name.removeprefix("test_")


def test_the_docstring_lists_all_37():
    docstring = ast.get_docstring(ast.parse((HERE / "__init__.py").read_text())) or ""
    listed = re.findall(r"^    (\w+)$", docstring, re.MULTILINE)
    assert len(listed) == 37
    assert sorted(listed) == sorted(written())
    assert FAILS.keys() <= set(listed)


def test_the_page_shows_them(checkout):
    page = (checkout / "docs" / "quantizer_conformance.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| (pass|\*\*fail\*\*) \| (pass|\*\*fail\*\*) \|", page, re.MULTILINE)
    assert sorted(check.replace(" ", "_") for check, _, _ in rows) == sorted(written())
    assert all(ours == "pass" for _, ours, _ in rows)
    assert {check.replace(" ", "_") for check, _, peer in rows if peer != "pass"} == FAILS.keys()
