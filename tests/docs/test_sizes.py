"""How large the house is: files small enough to hold in the head, and a `shop/` that is not half of the project."""

import ast
import io
import tokenize
from pathlib import Path

from django.conf import settings

ROOT: Path = settings.BASE_DIR
KERNEL_LINES = 1500  # of code: neither blank, nor comments, nor docstrings; without `sagas/testing`
SHOP_LINES = 9000  # of all its .py files, as `wc -l` counts them; it has no tests of its own


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def code_lines(source: str) -> int:
    """Lines on which something stands that is run."""
    documented = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    unseen = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return len(
        {line for one in tokens if one.type not in unseen for line in range(one.start[0], one.end[0] + 1)} - documented
    )


def test_what_a_line_of_code_is():
    assert (
        code_lines('"""Docs."""\n\n# a comment\nX = """a\nb"""  # and so on\n\ndef f():\n    "docs"\n    return 1\n')
        == 4
    )


def test_the_kernel_stays_small():
    """README.md says how large it is."""
    kernel = [path for path in ROOT.joinpath("sagas").rglob("*.py") if "testing" not in path.parts]
    assert sum(code_lines(path.read_text()) for path in kernel) < KERNEL_LINES
    assert f"`sagas/`, has some {KERNEL_LINES:,} lines" in ROOT.joinpath("README.md").read_text()


def test_what_the_services_share_stays_small():
    """What grows beyond that is a room that can be a package of its own, as `audit`, `desk` and `fastdb` are."""
    sizes = {str(path.relative_to(ROOT)): lines(path) for path in ROOT.joinpath("shop").rglob("*.py")}
    assert "shop/settings.py" in sizes
    assert sum(sizes.values()) < SHOP_LINES
