"""The admin in Korean: everything that it says has a translation, and what is compiled is what is written."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.test import Client
from django.utils.translation import gettext, override

from accounts.models import User
from scripts.messages import CATALOGUE, compiled, main, messages
from tests.conftest import SERVICES

ADMINS = [*(settings.BASE_DIR / name / "admin.py" for name in SERVICES), settings.BASE_DIR / "sagas/admin.py"]
ELSEWHERE = (
    "console/page_urls.py", "shop/text.py", "console/today.py", "accounts/contacts.py", "accounts/passwords.py",
    "catalog/prices.py", "catalog/sheets.py", "inventory/sheets.py", "notifications/webhooks/admin.py",
    "notifications/templates.py", "orders/returns/admin.py", "orders/admin_pages.py", "orders/admin_parts.py",
)  # fmt: skip
TEMPLATES = [settings.BASE_DIR / package / "templates/admin" for package in ("sagas", "desk")]
# The same in both languages: names of their own.
UNTRANSLATED = {"SMS", "English", "한국어", "ID", "TOSS_PAYMENTS", "KAKAO_PAY", "NAVER_PAY"}
MARKED = re.compile(r'\b_\(\s*"((?:[^"\\]|\\.)*)"')
TRANSLATED = re.compile(r'{% translate "([^"]*)" %}')


def marked() -> set[str]:
    """What code and templates mark for translation."""
    desk = (settings.BASE_DIR / "desk").glob("*.py")
    code = [*ADMINS, *desk, *(settings.BASE_DIR / path for path in ELSEWHERE)]
    found = {text for path in code for text in MARKED.findall(path.read_text())}
    pages = [settings.BASE_DIR / "shop/templates/shop/_sandbox.html"]
    pages += [path for folder in TEMPLATES for path in folder.rglob("*.html")]
    return found | {text for path in pages for text in TRANSLATED.findall(path.read_text())}


def named() -> set[str]:
    """How apps, models, fields and choices that the admin shows are called, in English."""
    found: set[str] = set()
    inlines = {inline.model for one in admin.site._registry.values() for inline in one.inlines}
    shown = [model for model in {*admin.site._registry, *inlines} if model._meta.app_label in SERVICES]
    with override("en"):
        for model in shown:
            found |= {str(apps.get_app_config(model._meta.app_label).verbose_name)}
            found |= {str(model._meta.verbose_name), str(model._meta.verbose_name_plural)}
            for field in model._meta.concrete_fields:
                found |= {str(field.verbose_name), str(field.help_text)}
                found |= {str(name) for _, name in field.choices or ()}
    return found - {""}


def test_everything_the_admin_says_is_there_in_korean():
    with override("ko"):
        same = {text for text in marked() | named() if gettext(text) == text}
    assert same <= UNTRANSLATED


def test_nothing_is_translated_that_nobody_says():
    assert set(messages(CATALOGUE.read_text())) - {""} - marked() - named() == set()


def test_placeholders_are_those_of_the_english():
    placeholder = re.compile(r"%(?:\(\w+\))?[dsg]")
    for english, korean in messages(CATALOGUE.read_text()).items():
        assert sorted(placeholder.findall(english)) == sorted(placeholder.findall(korean)), english


# --- Compiling -----------------------------------------------------------------------------------------------------
def test_what_is_compiled_is_what_is_written(capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert main(["--check"]) == 0, capsys.readouterr().err
    stale = tmp_path / "django.po"
    stale.write_text(CATALOGUE.read_text())
    monkeypatch.setattr(sys.modules[main.__module__], "CATALOGUE", stale)
    assert main(["--check"]) == 1
    assert "make messages" in capsys.readouterr().err
    assert (main([]), main(["--check"])) == (0, 0)


def test_texts_of_several_lines_and_with_quotes():
    text = '# why\nmsgid ""\nmsgstr ""\n"Language: ko\\n"\n\nmsgid "say \\"yes\\""\nmsgstr "네, "\n"그래요"\n'
    assert messages(text) == {"": "Language: ko\n", 'say "yes"': "네, 그래요"}
    assert compiled({"": "", "b": "나", "a": "가"}).endswith(b"\0" + "\0가\0나\0".encode())
    with pytest.raises(ValueError, match="two translations of 'a'"):
        messages('msgid "a"\nmsgstr "가"\nmsgid "a"\nmsgstr "나"\n')


# --- Choosing ------------------------------------------------------------------------------------------------------
@pytest.mark.django_db(databases=SERVICES)
def test_who_has_chosen_korean_gets_the_admin_in_korean_and_the_api_as_ever():
    client = Client()
    client.force_login(User.objects.create(email="boss@example.com", name="Boss", is_staff=True, is_superuser=True))
    assert "<h1>Today</h1>" in client.get("/admin/").content.decode()
    answer = client.post("/i18n/setlang/", {"language": "ko", "next": "/admin/orders/order/"})
    assert answer.url == "/admin/orders/order/"

    page = client.get("/admin/orders/order/").content.decode()
    for text in ('<html lang="ko"', "주문 | shop", "일주일 이상", "아직 아무것도 없습니다.", ">English<"):
        assert text in page, text
    page = client.get("/admin/catalog/product/add/").content.decode()
    assert all(text in page for text in ("카테고리", "전자제품", "가격표에 적는 그대로"))
    assert '<html lang="ko">' in client.get("/").content.decode()
    assert client.get("/api/v1/orders/4711").json()["detail"] == "There is no order 4711."


@pytest.mark.django_db(databases=SERVICES)
def test_names_stay_as_they_are_where_no_language_is_spoken():
    permission = apps.get_model("auth", "Permission").objects.get(codename="change_stockitem")
    assert permission.name == "Can change stock item"
