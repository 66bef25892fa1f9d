"""One version, and a changelog that agrees with it."""

import re

from django.conf import settings

from shop import __version__

RELEASES = re.findall(r"^## (.+)$", (settings.BASE_DIR / "CHANGELOG.md").read_text(), re.MULTILINE)
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_the_changelog_begins_with_what_is_unreleased_and_then_lists_releases_with_dates_newest_first():
    unreleased, *released = RELEASES
    found = [re.fullmatch(r"(\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d", title) for title in released]
    versions = [numbers(one[1]) for one in found if one]

    assert unreleased == "Unreleased"
    assert None not in found
    assert versions == sorted(set(versions), reverse=True)


def test_the_version_is_the_newest_release_or_in_development_after_it():
    found = re.fullmatch(r"(\d+\.\d+\.\d+)(\.dev0)?", __version__)
    newest = numbers(RELEASES[1].split()[0]) if len(RELEASES) > 1 else (0, 0, 0)

    assert found
    assert numbers(found[1]) > newest if found[2] else numbers(found[1]) == newest


def test_changes_are_sorted_by_their_kind():
    kinds = re.findall(r"^### (.+)$", (settings.BASE_DIR / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert set(kinds) <= KINDS


def test_the_api_says_which_version_it_is():
    assert settings.SPECTACULAR_SETTINGS["VERSION"] == __version__
