"""An mkdocs hook that makes one site of docs/ and the pages at the root, with the same relative links as on GitHub.

A link to anything but a page (code, a folder) leads to the repository if mkdocs.yml names it; otherwise it becomes
text.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.superfences import fence_code_format

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "README.ko.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
CHARTS = "benchmarks/results"
MERMAID = ROOT / "var" / "mermaid.min.js"  # downloaded by `make docs` if npm is installed
FENCED = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?!\w+:|#)(?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> None:
    """Draw diagrams if Mermaid is here. Otherwise show their source: the theme would load Mermaid from elsewhere."""
    if MERMAID.exists():
        fence = {"name": "mermaid", "class": "mermaid", "format": fence_code_format}
        config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages outside docs/."""
    outside = [ROOT / name for name in PAGES] + sorted((ROOT / CHARTS).glob("*.svg"))
    added = {f"project/{path.relative_to(ROOT).as_posix()}": path for path in outside}
    if MERMAID.exists():
        added["project/mermaid.min.js"] = MERMAID
    for uri, path in added.items():
        files.append(File.generated(config, uri, abs_src_path=str(path)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite each relative link to its target's place on the site."""
    here = page.file.src_uri

    def on_the_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(_in_repository(here)), link["target"]))
        if (ROOT / target / "README.md").exists():
            target += "/README.md"
        there = target.removeprefix("docs/") if target.startswith("docs/") else f"project/{target}"
        if files.get_file_from_path(there):
            return f"{link['image']}[{link['text']}]({_from(here, there)}{link['anchor'] or ''})"
        code = config.extra["code"]
        return f"[{link['text']}]({code}/blob/main/{target})" if code else link["text"]

    pieces = FENCED.split(markdown)
    pieces[::2] = [LINK.sub(on_the_site, text) for text in pieces[::2]]
    if MERMAID.exists() and any(piece.startswith("```mermaid") for piece in pieces):
        pieces.append(f'\n\n<script src="{_from(here, "project/mermaid.min.js")}"></script>\n')
    return "".join(pieces)


def _in_repository(uri: str) -> str:
    return uri.removeprefix("project/") if uri.startswith("project/") else f"docs/{uri}"


def _from(here: str, there: str) -> str:
    return posixpath.relpath(there, posixpath.dirname(here) or ".")
