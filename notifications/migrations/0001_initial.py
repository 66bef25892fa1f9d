import django.contrib.postgres.fields
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
                        condition=models.Q(("resolved_at", None)),
                        fields=["event_id"],
                        name="notifications_deadletter_open",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("event_id", "step"), name="notifications_deadletter_once")
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
                        name="notifications_inbox_deferred",
                    ),
                    models.Index(fields=["correlation_id"], name="notifications_inbox_key"),
                    django.contrib.postgres.indexes.BrinIndex(fields=["handled_at"], name="notifications_inbox_age"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Notification",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("event_id", models.UUIDField()),
                ("order_id", models.BigIntegerField(db_index=True)),
                ("user_id", models.BigIntegerField()),
                (
                    "type",
                    models.CharField(
                        choices=[
                            ("ORDER_RECEIVED", "Order Received"),
                            ("PAYMENT_DUE", "Payment Due"),
                            ("ORDER_CHANGED", "Order Changed"),
                            ("ADDRESS_CHANGED", "Address Changed"),
                            ("CHANGE_REFUSED", "Change Refused"),
                            ("SHIPPED", "Shipped"),
                            ("DELIVERED", "Delivered"),
                            ("COMPLETED", "Completed"),
                            ("CANCELLED", "Cancelled"),
                            ("DELIVERY_FAILED", "Delivery Failed"),
                            ("SHIPMENT_FAILED", "Shipment Failed"),
                            ("REFUNDED", "Refunded"),
                            ("RETURN_APPROVED", "Return Approved"),
                            ("RETURN_RECEIVED", "Return Received"),
                            ("RETURN_EXCHANGED", "Return Exchanged"),
                            ("RETURN_REFUNDED", "Return Refunded"),
                            ("RETURN_REFUSED", "Return Refused"),
                            ("RETURN_CLOSED", "Return Closed"),
                        ],
                        max_length=16,
                    ),
                ),
                ("channel", models.CharField(choices=[("EMAIL", "Email"), ("SMS", "SMS")], max_length=8)),
                ("recipient", models.CharField(help_text="E-mail address or phone number.", max_length=254)),
                ("subject", models.CharField(blank=True, help_text="Empty for an SMS.", max_length=200)),
                ("body", models.TextField()),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("PENDING", "Pending"),
                            ("SENT", "Sent"),
                            ("SUPPRESSED", "Suppressed"),
                            ("FAILED", "Failed"),
                        ],
                        default="PENDING",
                        max_length=10,
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("sent_at", models.DateTimeField(blank=True, null=True)),
                (
                    "error",
                    models.TextField(blank=True, help_text="Why the latest attempt failed, or why there is none."),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "permissions": (("view_recipient", "Can see recipients"),),
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "PENDING")), fields=["due_at"], name="notifications_due"
                    ),
                    models.Index(fields=["user_id", "-id"], name="notifications_user"),
                    models.Index(
                        condition=models.Q(("status", "SENT")),
                        fields=["recipient", "sent_at"],
                        name="notifications_recent",
                    ),
                    django.contrib.postgres.indexes.BrinIndex(fields=["created_at"], name="notifications_age"),
                ],
                "constraints": [models.UniqueConstraint(fields=("event_id", "channel"), name="notifications_once")],
            },
        ),
        migrations.CreateModel(
            name="MessageTemplate",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("ORDER_RECEIVED", "Order Received"),
                            ("PAYMENT_DUE", "Payment Due"),
                            ("ORDER_CHANGED", "Order Changed"),
                            ("ADDRESS_CHANGED", "Address Changed"),
                            ("CHANGE_REFUSED", "Change Refused"),
                            ("SHIPPED", "Shipped"),
                            ("DELIVERED", "Delivered"),
                            ("COMPLETED", "Completed"),
                            ("CANCELLED", "Cancelled"),
                            ("DELIVERY_FAILED", "Delivery Failed"),
                            ("SHIPMENT_FAILED", "Shipment Failed"),
                            ("REFUNDED", "Refunded"),
                            ("RETURN_APPROVED", "Return Approved"),
                            ("RETURN_RECEIVED", "Return Received"),
                            ("RETURN_EXCHANGED", "Return Exchanged"),
                            ("RETURN_REFUNDED", "Return Refunded"),
                            ("RETURN_REFUSED", "Return Refused"),
                            ("RETURN_CLOSED", "Return Closed"),
                            ("VERIFY", "Confirm the e-mail address"),
                            ("RESET", "Set another password"),
                        ],
                        max_length=16,
                    ),
                ),
                ("channel", models.CharField(choices=[("EMAIL", "Email"), ("SMS", "SMS")], max_length=8)),
                ("language", models.CharField(choices=[("ko", "한국어"), ("en", "English")], max_length=2)),
                ("subject", models.CharField(blank=True, help_text="Empty for an SMS.", max_length=120)),
                ("body", models.TextField()),
                ("in_use", models.BooleanField(default=False, help_text="Otherwise the shop's own text is sent.")),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("kind", "channel", "language"), name="notifications_template_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="OptOut",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user_id", models.BigIntegerField()),
                (
                    "type",
                    models.CharField(
                        choices=[
                            ("ORDER_RECEIVED", "Order Received"),
                            ("PAYMENT_DUE", "Payment Due"),
                            ("ORDER_CHANGED", "Order Changed"),
                            ("ADDRESS_CHANGED", "Address Changed"),
                            ("CHANGE_REFUSED", "Change Refused"),
                            ("SHIPPED", "Shipped"),
                            ("DELIVERED", "Delivered"),
                            ("COMPLETED", "Completed"),
                            ("CANCELLED", "Cancelled"),
                            ("DELIVERY_FAILED", "Delivery Failed"),
                            ("SHIPMENT_FAILED", "Shipment Failed"),
                            ("REFUNDED", "Refunded"),
                            ("RETURN_APPROVED", "Return Approved"),
                            ("RETURN_RECEIVED", "Return Received"),
                            ("RETURN_EXCHANGED", "Return Exchanged"),
                            ("RETURN_REFUNDED", "Return Refunded"),
                            ("RETURN_REFUSED", "Return Refused"),
                            ("RETURN_CLOSED", "Return Closed"),
                        ],
                        max_length=16,
                    ),
                ),
                ("channel", models.CharField(choices=[("EMAIL", "Email"), ("SMS", "SMS")], max_length=8)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("user_id", "type", "channel"), name="notifications_opt_out_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Suppression",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("channel", models.CharField(choices=[("EMAIL", "Email"), ("SMS", "SMS")], max_length=8)),
                ("address_hash", models.CharField(help_text="SHA-256, hexadecimal.", max_length=64)),
                (
                    "user_id",
                    models.BigIntegerField(
                        blank=True,
                        db_index=True,
                        help_text="Whose it was then, if they had been told of an order.",
                        null=True,
                    ),
                ),
                (
                    "reason",
                    models.CharField(choices=[("BOUNCED", "Bounced"), ("COMPLAINED", "Complained")], max_length=10),
                ),
                (
                    "detail",
                    models.CharField(
                        blank=True, help_text="In the provider's words, without the address.", max_length=500
                    ),
                ),
                ("since", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("channel", "address_hash"), name="notifications_suppression_once")
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
                        to="notifications.outbox",
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
            index=models.Index(fields=["correlation_id"], name="notifications_outbox_key"),
        ),
        migrations.AddIndex(
            model_name="outbox",
            index=models.Index(
                condition=models.Q(("caused_by__isnull", False)),
                fields=["caused_by"],
                name="notifications_outbox_cause",
            ),
        ),
        migrations.AddIndex(
            model_name="outbox",
            index=django.contrib.postgres.indexes.BrinIndex(fields=["created_at"], name="notifications_outbox_age"),
        ),
        migrations.AddIndex(
            model_name="staffaction",
            index=models.Index(fields=["target"], name="notifications_stafflog"),
        ),
        migrations.AddIndex(
            model_name="unsent",
            index=models.Index(
                condition=models.Q(("deferred_until__isnull", False)),
                fields=["deferred_until"],
                name="notifications_unsent_deferred",
            ),
        ),
        migrations.CreateModel(
            name="Webhook",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("owner_id", models.BigIntegerField(db_index=True, help_text="The user, or a program's.")),
                ("url", models.CharField(max_length=500)),
                (
                    "events",
                    django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=32), size=None),
                ),
                ("description", models.CharField(blank=True, max_length=200)),
                ("secret", models.TextField(help_text="Encrypted.")),
                (
                    "former_secret",
                    models.TextField(blank=True, help_text="Encrypted; signs as well until `former_until`."),
                ),
                ("former_until", models.DateTimeField(blank=True, null=True)),
                ("enabled", models.BooleanField(default=True)),
                ("disabled_reason", models.CharField(blank=True, max_length=200)),
                ("failures", models.PositiveIntegerField(default=0, help_text="Since it last took a message.")),
                ("failing_since", models.DateTimeField(blank=True, null=True)),
                ("slow", models.BooleanField(default=True, help_text="Until it has answered quickly.")),
                ("free_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("served_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(fields=["events"], name="notifications_webhook_events")
                ],
            },
        ),
        migrations.CreateModel(
            name="WebhookMessage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("event_id", models.UUIDField()),
                ("type", models.CharField(max_length=32)),
                ("order_id", models.BigIntegerField(blank=True, db_index=True, null=True)),
                ("body", models.TextField(help_text="JSON.")),
                (
                    "status",
                    models.CharField(
                        choices=[("PENDING", "Pending"), ("SENT", "Sent"), ("FAILED", "Failed")],
                        default="PENDING",
                        max_length=8,
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("sent_at", models.DateTimeField(blank=True, null=True)),
                ("answer", models.PositiveSmallIntegerField(blank=True, help_text="The last HTTP status.", null=True)),
                ("error", models.CharField(blank=True, help_text="Why the latest attempt failed.", max_length=200)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "webhook",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="messages",
                        to="notifications.webhook",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "PENDING")),
                        fields=["webhook", "due_at"],
                        name="notifications_webhook_due",
                    ),
                    models.Index(fields=["webhook", "-id"], name="notifications_of_webhook"),
                    django.contrib.postgres.indexes.BrinIndex(fields=["created_at"], name="notifications_webhook_age"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("webhook", "event_id"), name="notifications_webhook_once")
                ],
            },
        ),
        migrations.RunSQL(APPEND_ONLY.format(service="notifications"), FORGET.format(service="notifications")),
        # Rows that are written again: while their pages have room, their indexes need no new entries.
        migrations.RunSQL(
            "ALTER TABLE notifications_unsent SET (fillfactor = 50)",
            "ALTER TABLE notifications_unsent RESET (fillfactor)",
        ),
    ]
