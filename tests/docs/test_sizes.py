"""How large the house is: files small enough to hold in the head, and a `shop/` that is not half of the project."""

from pathlib import Path

from django.conf import settings

ROOT: Path = settings.BASE_DIR
SHOP_LINES = 9000  # of all its .py files, as `wc -l` counts them; it has no tests of its own


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def test_what_the_services_share_stays_small():
    """What grows beyond that is a room that can be a package of its own, as `desk`, `fastdb` and `supervision` are."""
    sizes = {str(path.relative_to(ROOT)): lines(path) for path in ROOT.joinpath("shop").rglob("*.py")}
    assert "shop/settings.py" in sizes
    assert sum(sizes.values()) < SHOP_LINES
