import django.contrib.postgres.indexes
import django.core.serializers.json
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import sagas.db.fields
from shop.stafflog import APPEND_ONLY, FORGET


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Outbox",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("event_id", models.UUIDField(unique=True)),
                ("event_type", models.CharField(max_length=64)),
                ("correlation_id", models.BigIntegerField()),
                ("caused_by", models.UUIDField(null=True)),
                ("payload", sagas.db.fields.TextualJSONField()),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "verbose_name_plural": "outbox",
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="StaffAction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("actor_id", models.BigIntegerField(help_text="The user; empty for a command.", null=True)),
                ("actor", models.CharField(max_length=254)),
                ("way", models.CharField(max_length=32)),
                ("action", models.CharField(max_length=200)),
                ("target", models.CharField(max_length=64)),
                ("before", models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder, null=True)),
                ("after", models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder, null=True)),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="ReturnParcel",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("return_id", models.BigIntegerField(unique=True)),
                ("order_id", models.BigIntegerField(db_index=True)),
                ("tracking_number", models.CharField(max_length=64, null=True)),
                (
                    "account",
                    models.CharField(blank=True, help_text="The carrier; empty: the customer sends it.", max_length=32),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("EXPECTED", "Expected"),
                            ("RECEIVED", "Received"),
                            ("LOST", "Lost"),
                            ("CANCELLED", "Cancelled"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "reason",
                    models.CharField(blank=True, db_default="", help_text="The carrier's words.", max_length=200),
                ),
                ("due_at", models.DateTimeField(null=True)),
                ("caused_by", models.UUIDField(null=True)),
                ("trace", models.CharField(blank=True, max_length=64)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="delivery_returns_due"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("tracking_number", "account"), name="delivery_return_tracked_once"),
                    models.CheckConstraint(
                        condition=models.Q(("due_at", None), ("status", "EXPECTED"), _connector="OR"),
                        name="delivery_return_asked_while_expected",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="CarrierEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("carrier", models.CharField(default="", max_length=32)),
                ("event_id", models.CharField(max_length=64)),
                ("tracking_number", models.CharField(max_length=64)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("BOOKING", "Booking"),
                            ("PREPARING", "Preparing"),
                            ("IN_TRANSIT", "In Transit"),
                            ("RECALLING", "Recalling"),
                            ("DELIVERED", "Delivered"),
                            ("FAILED", "Failed"),
                            ("HELD", "Held"),
                            ("EMPTY", "Empty"),
                            ("CANCELLING", "Cancelling"),
                            ("CANCELLED", "Cancelled"),
                        ],
                        max_length=16,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=200)),
                ("received_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("carrier", "event_id"), name="delivery_carrier_event_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="DeadLetter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("step", models.CharField(max_length=64)),
                ("event_id", models.UUIDField(help_text="Empty when not even the id could be read.", null=True)),
                ("event_type", models.CharField(blank=True, max_length=64)),
                ("correlation_id", models.BigIntegerField(null=True)),
                (
                    "payload",
                    models.TextField(
                        help_text="The event as it arrived, as JSON; text, for what PostgreSQL's JSON refuses."
                    ),
                ),
                ("error", models.TextField()),
                ("traceback", models.TextField(blank=True)),
                ("attempts", models.PositiveIntegerField(default=1)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("resolved_at", models.DateTimeField(blank=True, null=True)),
                (
                    "resolution",
                    models.CharField(
                        blank=True, choices=[("HANDLED", "Handled"), ("DISCARDED", "Discarded")], max_length=16
                    ),
                ),
            ],
            options={
                "abstract": False,
                "indexes": [
                    models.Index(
                        condition=models.Q(("resolved_at", None)), fields=["event_id"], name="delivery_deadletter_open"
                    )
                ],
                "constraints": [models.UniqueConstraint(fields=("event_id", "step"), name="delivery_deadletter_once")],
            },
        ),
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("order_id", models.BigIntegerField()),
                (
                    "number",
                    models.PositiveSmallIntegerField(db_default=1, help_text="Of the order's shipments, from 1."),
                ),
                (
                    "parts",
                    models.PositiveSmallIntegerField(db_default=1, help_text="How many shipments the order has."),
                ),
                (
                    "location",
                    models.CharField(
                        blank=True, db_default="", help_text="From where, if from several.", max_length=16
                    ),
                ),
                (
                    "lines",
                    sagas.db.fields.TextualJSONField(
                        help_text="What is in it, if the order comes from several locations.", null=True
                    ),
                ),
                (
                    "end_announced",
                    models.BooleanField(
                        db_default=False, help_text="Of one of several: whether its end has been announced."
                    ),
                ),
                ("user_id", models.BigIntegerField(help_text="Empty for a tombstone.", null=True)),
                (
                    "tracking_number",
                    models.CharField(
                        help_text="The carrier's. Empty while it is not booked, and for a tombstone.",
                        max_length=64,
                        null=True,
                    ),
                ),
                (
                    "unpaid",
                    models.BooleanField(db_default=False, help_text="Its money is only held, until it is handed over."),
                ),
                (
                    "account",
                    models.CharField(blank=True, help_text="The carrier that is asked about it.", max_length=32),
                ),
                (
                    "key",
                    models.CharField(
                        blank=True,
                        help_text="Its booking, as we call it at whichever carrier. Empty for a tombstone.",
                        max_length=64,
                    ),
                ),
                ("carrier", models.CharField(blank=True, max_length=32)),
                ("address", models.TextField(blank=True)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("BOOKING", "Booking"),
                            ("PREPARING", "Preparing"),
                            ("IN_TRANSIT", "In Transit"),
                            ("RECALLING", "Recalling"),
                            ("DELIVERED", "Delivered"),
                            ("FAILED", "Failed"),
                            ("HELD", "Held"),
                            ("EMPTY", "Empty"),
                            ("CANCELLING", "Cancelling"),
                            ("CANCELLED", "Cancelled"),
                        ],
                        max_length=16,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=200)),
                (
                    "reference",
                    models.CharField(blank=True, help_text="The booking, as the carrier calls it.", max_length=64),
                ),
                ("label_url", models.CharField(blank=True, help_text="What to print and stick on it.", max_length=500)),
                (
                    "attempts",
                    models.PositiveSmallIntegerField(db_default=0, help_text="Questions in a row without an answer."),
                ),
                ("due_at", models.DateTimeField(null=True)),
                (
                    "held_for",
                    sagas.db.fields.TextualJSONField(
                        help_text="The change during which no carrier gets it.", null=True
                    ),
                ),
                ("let_go", models.UUIDField(help_text="The last change that has ended.", null=True)),
                (
                    "changed",
                    sagas.db.fields.TextualJSONField(
                        help_text="What it left in each shipment, if the delivery had not started.", null=True
                    ),
                ),
                ("caused_by", models.UUIDField(null=True)),
                ("trace", models.CharField(blank=True, max_length=64)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("handed_over_at", models.DateTimeField(null=True)),
                ("delivered_at", models.DateTimeField(null=True)),
                (
                    "disputed_by",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("BOOKING", "Booking"),
                            ("PREPARING", "Preparing"),
                            ("IN_TRANSIT", "In Transit"),
                            ("RECALLING", "Recalling"),
                            ("DELIVERED", "Delivered"),
                            ("FAILED", "Failed"),
                            ("HELD", "Held"),
                            ("EMPTY", "Empty"),
                            ("CANCELLING", "Cancelling"),
                            ("CANCELLED", "Cancelled"),
                        ],
                        db_default="",
                        help_text="What the carrier said after the end, against it. Staff see to it and settle it.",
                        max_length=16,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "deliveries",
                "permissions": (("view_address", "Can see addresses"),),
                "indexes": [
                    models.Index(fields=["user_id", "-id"], name="delivery_of_user"),
                    models.Index(condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="delivery_due"),
                    models.Index(
                        condition=models.Q(("address", ""), _negated=True),
                        fields=["created_at"],
                        name="delivery_with_address",
                    ),
                    models.Index(
                        condition=models.Q(("disputed_by", ""), _negated=True), fields=["id"], name="delivery_disputed"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("order_id", "number"), name="delivery_shipment_once"),
                    models.UniqueConstraint(fields=("tracking_number", "account"), name="delivery_tracked_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("due_at__isnull", False), ("status__in", ["BOOKING", "CANCELLING", "RECALLING"])),
                            ("status__in", ["PREPARING", "IN_TRANSIT"]),
                            models.Q(
                                ("due_at", None), ("status__in", ["HELD", "EMPTY", "DELIVERED", "FAILED", "CANCELLED"])
                            ),
                            _connector="OR",
                        ),
                        name="delivery_moves_until_its_end",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("tracking_number__isnull", False), ("user_id__isnull", False)),
                            models.Q(
                                (
                                    "status__in",
                                    ["BOOKING", "HELD", "EMPTY", "CANCELLING", "CANCELLED", "FAILED"],
                                ),
                                ("user_id__isnull", False),
                            ),
                            models.Q(
                                ("status__in", ["HELD", "CANCELLED"]), ("tracking_number", None), ("user_id", None)
                            ),
                            _connector="OR",
                        ),
                        name="delivery_can_be_tracked",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("handed_over_at__isnull", False),
                            models.Q(("status__in", ["IN_TRANSIT", "RECALLING", "DELIVERED"]), _negated=True),
                            _connector="OR",
                        ),
                        name="delivery_handed_over_before_it_moves",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("held_for__isnull", True), ("status__in", ["HELD", "CANCELLING"]), _connector="OR"
                        ),
                        name="delivery_held_stays_here",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("held_for__isnull", False),
                            ("user_id", None),
                            models.Q(("status", "HELD"), _negated=True),
                            _connector="OR",
                        ),
                        name="delivery_held_for_a_change",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Inbox",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "event_id", "step", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("step", models.CharField(max_length=64)),
                ("event_id", models.UUIDField()),
                ("event_type", models.CharField(max_length=64)),
                ("correlation_id", models.BigIntegerField()),
                ("emitted", sagas.db.fields.TextualJSONField(default=list)),
                ("handled_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("repeats", models.PositiveSmallIntegerField(db_default=0)),
                ("deferred_until", models.DateTimeField(null=True)),
            ],
            options={
                "abstract": False,
                "indexes": [
                    models.Index(
                        condition=models.Q(("deferred_until__isnull", False)),
                        fields=["deferred_until"],
                        name="delivery_inbox_deferred",
                    ),
                    models.Index(fields=["correlation_id"], name="delivery_inbox_key"),
                    django.contrib.postgres.indexes.BrinIndex(fields=["handled_at"], name="delivery_inbox_age"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Unsent",
            fields=[
                (
                    "outbox",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        serialize=False,
                        to="delivery.outbox",
                    ),
                ),
                ("leased_until", models.DateTimeField(null=True)),
                ("deferred_until", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name_plural": "unsent",
                "abstract": False,
            },
        ),
        migrations.AddIndex(
            model_name="outbox",
            index=models.Index(fields=["correlation_id"], name="delivery_outbox_key"),
        ),
        migrations.AddIndex(
            model_name="outbox",
            index=models.Index(
                condition=models.Q(("caused_by__isnull", False)), fields=["caused_by"], name="delivery_outbox_cause"
            ),
        ),
        migrations.AddIndex(
            model_name="outbox",
            index=django.contrib.postgres.indexes.BrinIndex(fields=["created_at"], name="delivery_outbox_age"),
        ),
        migrations.AddIndex(
            model_name="staffaction",
            index=models.Index(fields=["target"], name="delivery_stafflog"),
        ),
        migrations.AddIndex(
            model_name="unsent",
            index=models.Index(
                condition=models.Q(("deferred_until__isnull", False)),
                fields=["deferred_until"],
                name="delivery_unsent_deferred",
            ),
        ),
        migrations.RunSQL(APPEND_ONLY.format(service="delivery"), FORGET.format(service="delivery")),
        # Rows that are written again: while their pages have room, their indexes need no new entries.
        migrations.RunSQL(
            "ALTER TABLE delivery_unsent SET (fillfactor = 50)",
            "ALTER TABLE delivery_unsent RESET (fillfactor)",
        ),
    ]
