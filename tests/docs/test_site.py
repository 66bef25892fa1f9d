"""The documentation site builds without a warning, loads nothing from elsewhere, and shows what GitHub shows."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from django.conf import settings
from markdown_it import MarkdownIt

ROOT = settings.BASE_DIR
LOADED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}
NOT_LOADED = {"canonical", "prev", "next"}  # links that only name a page
BLOCKS = ("li", "table", "td", "h2", "h3", "pre", "img")


class Elements(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, {name: value or "" for name, value in attributes}))

    def loaded(self) -> Iterator[str]:
        for tag, attributes in self.all:
            if tag in LOADED and attributes.get("rel") not in NOT_LOADED:
                yield attributes.get(LOADED[tag], "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    # Not --quiet: it silences warnings before --strict counts them.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return target


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Elements]:
    pages = {path: Elements(path.read_text()) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 25
    return pages


def test_pages_load_nothing_from_elsewhere(site: Path, pages: dict[Path, Elements]):
    foreign = {url for page in pages.values() for url in page.loaded() if re.match("https?:|//", url)}
    styles = {url for path in site.rglob("*.css") for url in re.findall(r"url\(['\"]?(https?:[^)]*)", path.read_text())}

    assert foreign == set()
    assert styles == set()


def test_whatever_a_page_loads_or_links_to_is_on_the_site(pages: dict[Path, Elements]):
    def missing(page: Path, elements: Elements) -> list[str]:
        targets = [*elements.loaded(), *(more.get("href", "") for tag, more in elements.all if tag == "a")]
        local = {target.partition("#")[0] for target in targets if not re.match(r"\w+:", target)} - {""}
        return [target for target in local if not (page.parent / unquote(target)).exists()]

    assert {page.name: missing(page, elements) for page, elements in pages.items() if missing(page, elements)} == {}


def test_diagrams_are_not_drawn_by_a_script_from_elsewhere(site: Path):
    """The theme loads Mermaid from a public server for each `mermaid` element, unless the page has it already."""
    saga = (site / "saga.html").read_text()
    assert ('class="mermaid"' in saga) == ("mermaid.min.js" in saga)
    assert "OrderCreated([" in saga


def test_the_site_shows_what_github_shows(site: Path, pages: dict[Path, Elements]):
    """The same lists, tables and code: the two read Markdown differently where it is not written carefully."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table"])
    sources = {path: path.relative_to(ROOT / "docs") for path in ROOT.glob("docs/**/*.md")}
    sources |= {path: Path("project") / path.name for path in ROOT.glob("*.md")}

    differ = {}
    for source, uri in sources.items():
        page = site / uri.with_suffix(".html") if uri.name != "README.md" else site / uri.with_name("index.html")
        article = re.search(r"<article.*?</article>", page.read_text(), re.DOTALL)
        assert article
        here, there = count(article[0]), count(parser.render(source.read_text()))
        if here != there:
            differ[str(uri)] = {tag: (here[tag], there[tag]) for tag in BLOCKS if here[tag] != there[tag]}
    assert differ == {}


def count(html: str) -> dict[str, Any]:
    found = Counter(tag for tag, _ in Elements(html).all)
    return {tag: found[tag] for tag in BLOCKS}
