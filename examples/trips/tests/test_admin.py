"""What an operator sees: every list and its filters, and a dead letter with what can be done about it."""

from django.apps import apps
from django.conf import settings
from django.contrib.admin import site
from django.contrib.auth.models import User
from django.test import TestCase
from django.urls import reverse

from sagas import dead_letters


class AdminTest(TestCase):
    databases = {"default", *settings.SERVICES}

    def setUp(self) -> None:
        self.client.force_login(User.objects.create_superuser("admin"))

    def test_lists(self) -> None:
        for model in site._registry:
            path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
            assert self.client.get(path).status_code == 200, path

    def test_an_open_dead_letter(self) -> None:
        dead_letters.record("hotels", "hotels.book_room", {"type": "Nonsense"}, "nobody can read it")
        letter = apps.get_model("hotels", "DeadLetter").objects.get()
        path = "/admin/hotels/deadletter/"

        self.assertContains(self.client.get(f"{path}?resolved_at__isempty=1"), "nobody can read it")
        self.assertNotContains(self.client.get(f"{path}?resolved_at__isempty=0"), "nobody can read it")
        self.assertContains(self.client.get(f"{path}{letter.pk}/change/"), "Nonsense")
        self.client.post(path, {"_selected_action": letter.pk, "action": "discard", "reason": "nonsense"})
        letter.refresh_from_db()
        assert (letter.resolution, letter.error) == ("DISCARDED", "nobody can read it\nDiscarded: nonsense")
