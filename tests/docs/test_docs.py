"""What the documentation says is so: every environment variable with its default, every command, link and alert."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import get_commands

from audit import invariant_names

ROOT = settings.BASE_DIR
CONFIGURATION = ROOT / "docs/howto/configuration.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
NOTHING = "–"

# Left out: what `manage.py chaos` hands to itself, and which settings Django is to load.
INTERNAL = re.compile("CHAOS_.*|DJANGO_SETTINGS_MODULE")


# --- Environment variables -----------------------------------------------------------------------------------------
def sources() -> list[Path]:
    """Everything that runs, except tests."""
    folders = [
        "sagas",
        "fastdb",
        "supervision",
        "shop",
        "audit",
        "desk",
        "commands",
        "providers",
        "console",
        "embedded",
        "lab",
        "scripts",
        *settings.SERVICES,
    ]
    files = [path for folder in folders for path in ROOT.joinpath(folder).rglob("*.py") if "tests" not in path.parts]
    return [ROOT / "celeryconfig.py", ROOT / "manage.py", *files]


def reads(tree: ast.AST) -> Iterator[tuple[str, Any]]:
    """The environment variables that code names when it reads them, with their defaults as far as these are constant.

    An f-string's `{service.upper()}` becomes `<SERVICE>`.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=reader), args=[name, *default]) if is_environment(reader):
                default += [keyword.value for keyword in node.keywords if keyword.arg == "default"]
                yield from named(name, default[0] if default else None)
            case ast.Subscript(value=reader, slice=name, ctx=ast.Load()) if is_environment(reader):
                yield from named(name)
            case ast.Compare(left=name, ops=[ast.In() | ast.NotIn()], comparators=[reader]) if is_environment(reader):
                yield from named(name)


def is_environment(node: ast.AST) -> bool:
    return ast.unparse(node) in ("env", "environ.Env()", "os.environ")


def named(node: ast.AST, default: ast.AST | None = None) -> Iterator[tuple[str, Any]]:
    match node:
        case ast.Constant(value=str(name)):
            pass
        case ast.JoinedStr(values=parts):
            name = "".join(part.value if isinstance(part, ast.Constant) else "<SERVICE>" for part in parts)
        case _:
            return  # a name that the code has from elsewhere
    if not INTERNAL.fullmatch(name):
        yield name, default.value if isinstance(default, ast.Constant) else None


@functools.cache
def in_the_code() -> dict[str, set[Any]]:
    """Name to the constant defaults with which it is read."""
    found: dict[str, set[Any]] = {}
    for path in sources():
        for name, default in reads(ast.parse(path.read_text())):
            found.setdefault(name, set()).update({default} - {None, ""})
    return found


def in_the_shell() -> set[str]:
    """Names in Procfile and docker-compose.yml."""
    texts = [ROOT.joinpath(name).read_text() for name in ("Procfile", "docker-compose.yml")]
    services = "|".join(settings.SERVICES).upper()
    names = {name for text in texts for name in re.findall(r"(?<!\$)\$\{(\w+)", text)}
    return {re.sub(f"^({services})_", "<SERVICE>_", name) for name in names}


def in_the_tables() -> dict[str, str]:
    """Name to default, as documented."""
    rows = re.findall(r"^\| `([A-Z<][A-Z_<>]+)` \| (.*?) \|", CONFIGURATION.read_text(), re.MULTILINE)
    assert len(dict(rows)) == len(rows), "a variable is documented twice"
    return dict(rows)


def test_every_variable_is_documented_and_every_documented_one_is_read():
    assert set(in_the_tables()) == set(in_the_code()) | in_the_shell()


def test_defaults_are_what_the_tables_say():
    documented = in_the_tables()
    constant = {name: defaults for name, defaults in in_the_code().items() if defaults}

    assert len(constant) > 20
    for name, defaults in constant.items():
        if name not in ("DEBUG", "SANDBOX"):  # scripts/services.py turns them on
            assert [f"`{default}`" for default in defaults] == [documented[name]], name


def test_every_row_has_its_four_cells():
    rows = [line for line in CONFIGURATION.read_text().splitlines() if line.startswith("| `")]
    assert {row.count("|") for row in rows} == {5}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('env.int("A", 3)', [("A", 3)]),
        ('env.list("A", default=[])', [("A", None)]),
        ('os.environ.get("A")', [("A", None)]),
        ('x = os.environ["A"]', [("A", None)]),
        ('os.environ["A"] = x', []),
        ('"A" in os.environ', [("A", None)]),
        ('environ.Env().str("A", "b")', [("A", "b")]),
        ('env.str(f"{service.upper()}_URL", "")', [("<SERVICE>_URL", "")]),
        ("os.environ.get(name)", []),
        ('other.get("A")', []),
    ],
)
def test_how_reading_is_recognised(code: str, expected: list[Any]):
    assert list(reads(ast.parse(code))) == expected


# --- Commands and links --------------------------------------------------------------------------------------------
def commands(page: Path) -> Iterator[tuple[str, str]]:
    """`make X` and `manage.py X`, in fenced blocks and in code within a text."""
    text = page.read_text()
    fenced = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    for line in (*"\n".join(fenced).splitlines(), *inline):
        yield from re.findall(r"(?:^|[\s(])(make)(?: -\w+)* ([a-z][a-z-]*)", line.partition("#")[0])
        yield from re.findall(r"(manage\.py) ([a-z_]+)", line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    known = {"make": set(targets), "manage.py": set(get_commands())}

    assert [(tool, name) for tool, name in commands(page) if name not in known[tool]] == []


def test_the_readme_shows_commands():
    assert {("make", "demo"), ("make", "services"), ("manage.py", "saga"), ("manage.py", "migrate_all")} <= set(
        commands(ROOT / "README.md")
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_points_to_is_there(page: Path):
    text = page.read_text()
    links = [page.parent / link for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)]
    top = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "var")))
    paths = [ROOT / path for path in re.findall(rf"`((?:{top})/[\w./-]*)`", text)]

    assert [str(path) for path in (*links, *paths) if not path.exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sections_that_a_page_points_to_are_there(page: Path):
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", page.read_text())

    missing = [(other, part) for other, part in links if part not in anchors(page.parent / other if other else page)]
    assert missing == []


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall("^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("index", "folder"), [("docs/README.md", "docs/**"), ("docs/adr/README.md", "docs/adr")])
def test_every_page_is_in_an_index(index: str, folder: str):
    page = ROOT / index
    linked = {(page.parent / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)", page.read_text())}
    decisions = set() if "adr" in folder else set(ROOT.glob("docs/adr/0*.md"))

    assert set(ROOT.glob(f"{folder}/*.md")) - linked - decisions - {page} == set()


def test_the_readme_shows_code_that_there_is():
    for page in ("README.md", "README.ko.md"):
        (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
        assert code in (ROOT / "inventory/tasks.py").read_text()


@pytest.mark.parametrize("page", ["README.md", "README.ko.md"])
def test_the_reading_list_takes_an_hour_and_names_files(page: str):
    rows = re.findall(r"^\| (\d+) \| (\[.*?) \|", (ROOT / page).read_text(), re.MULTILINE)
    files = [path for _, cell in rows for path in re.findall(r"\]\((.*?)\)", cell)]

    assert sum(int(minutes) for minutes, _ in rows) == 60
    assert len(files) > 10
    assert [path for path in files if not (ROOT / path).is_file()] == []


def test_each_alert_is_explained():
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "deploy/prometheus/rules.yml").read_text())
    section = (ROOT / "docs/operations.md").read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]

    assert len(alerts) > 5
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(alerts)


def test_the_fault_matrix_names_tests_that_there_are():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/reliability.md").read_text()))
    files = [path for folder in ("tests", *settings.SERVICES) for path in (ROOT / folder).rglob("test_*.py")]
    there = {name for path in files for name in (path.stem, *re.findall(r"def (test_\w+)", path.read_text()))}

    assert len(named) > 40
    assert named - there == set()


# --- Recorded output -----------------------------------------------------------------------------------------------
def test_recorded_audits_count_the_invariants_of_today():
    found = {path.name: re.findall(r"(\d+) invariants", path.read_text()) for path in PAGES if "adr" not in path.parts}
    found = {name: counts for name, counts in found.items() if counts and name != "CHANGELOG.md"}
    assert found.keys() == {"tour.md", "loadtest.md"}
    assert {count for counts in found.values() for count in counts} == {str(len(invariant_names()))}
