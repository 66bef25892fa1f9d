import django.contrib.postgres.indexes
import django.core.serializers.json
import django.db.models.deletion
import django.db.models.expressions
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
            name="TimelineEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("service", models.CharField(max_length=32)),
                ("event", models.CharField(max_length=64)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("PENDING", "Pending"),
                            ("INVENTORY_RESERVED", "Inventory Reserved"),
                            ("PAYMENT_AUTHORIZED", "Payment Authorized"),
                            ("PAYMENT_COMPLETED", "Payment Completed"),
                            ("DELIVERY_STARTED", "Delivery Started"),
                            ("SHIPPED", "Shipped"),
                            ("UNPAID", "Unpaid"),
                            ("COMPLETED", "Completed"),
                            ("CANCELLING", "Cancelling"),
                            ("CANCELLED", "Cancelled"),
                        ],
                        max_length=20,
                    ),
                ),
                ("detail", models.CharField(blank=True, max_length=200)),
            ],
            options={
                "verbose_name_plural": "timeline",
                "ordering": ["pk"],
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
                        condition=models.Q(("resolved_at", None)), fields=["event_id"], name="orders_deadletter_open"
                    )
                ],
                "constraints": [models.UniqueConstraint(fields=("event_id", "step"), name="orders_deadletter_once")],
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
                        name="orders_inbox_deferred",
                    ),
                    models.Index(fields=["correlation_id"], name="orders_inbox_key"),
                    django.contrib.postgres.indexes.BrinIndex(fields=["handled_at"], name="orders_inbox_age"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user_id", models.BigIntegerField()),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("PENDING", "Pending"),
                            ("INVENTORY_RESERVED", "Inventory Reserved"),
                            ("PAYMENT_AUTHORIZED", "Payment Authorized"),
                            ("PAYMENT_COMPLETED", "Payment Completed"),
                            ("DELIVERY_STARTED", "Delivery Started"),
                            ("SHIPPED", "Shipped"),
                            ("UNPAID", "Unpaid"),
                            ("COMPLETED", "Completed"),
                            ("CANCELLING", "Cancelling"),
                            ("CANCELLED", "Cancelled"),
                        ],
                        default="PENDING",
                        max_length=20,
                    ),
                ),
                (
                    "capture",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("DUE", "Due"),
                            ("CAPTURED", "Captured"),
                            ("FAILED", "Failed"),
                            ("WRITTEN_OFF", "Written Off"),
                        ],
                        db_default="",
                        default="",
                        help_text="Of money that is held until hand-over. Empty where it is taken at once.",
                        max_length=16,
                    ),
                ),
                ("cancellation_reason", models.CharField(blank=True, max_length=200)),
                ("currency", models.CharField(max_length=3)),
                ("total_price", models.BigIntegerField()),
                (
                    "payment_gateway",
                    models.CharField(blank=True, help_text="Empty for an exchange.", max_length=32),
                ),
                (
                    "action_url",
                    models.TextField(blank=True, db_default="", help_text="Where its customer pays, while it waits."),
                ),
                ("action_until", models.DateTimeField(null=True)),
                ("tracking_number", models.CharField(blank=True, max_length=64)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("progress_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "look_at",
                    models.DateTimeField(
                        help_text="Its next check. Empty once the order has ended and no message of it is missing.",
                        null=True,
                    ),
                ),
                (
                    "looks",
                    models.PositiveIntegerField(default=0, help_text="Its checks since it last moved."),
                ),
                ("change_id", models.UUIDField(help_text="The change that is being made, if there is one.", null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["user_id", "-created_at"], name="orders_of_user"),
                    models.Index(fields=["-created_at"], name="orders_newest"),
                    models.Index(
                        condition=models.Q(("look_at__isnull", False)), fields=["look_at"], name="orders_open"
                    ),
                    models.Index(condition=models.Q(("capture", "FAILED")), fields=["id"], name="orders_unpaid"),
                ],
            },
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "user_id", "key", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("user_id", models.BigIntegerField()),
                ("key", models.CharField(max_length=255)),
                ("request_hash", models.CharField(max_length=64)),
                ("status", models.PositiveSmallIntegerField()),
                (
                    "answer",
                    models.TextField(help_text="The body, as JSON; text, so that its fields stay in their order."),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "order",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="idempotency_key", to="orders.order"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="OrderLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("product_id", models.BigIntegerField()),
                ("product_name", models.CharField(max_length=200)),
                ("unit_price", models.BigIntegerField()),
                ("quantity", models.PositiveIntegerField()),
                (
                    "order",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="items",
                        to="orders.order",
                    ),
                ),
            ],
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
                        to="orders.outbox",
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
            index=models.Index(fields=["correlation_id"], name="orders_outbox_key"),
        ),
        migrations.AddIndex(
            model_name="outbox",
            index=models.Index(
                condition=models.Q(("caused_by__isnull", False)), fields=["caused_by"], name="orders_outbox_cause"
            ),
        ),
        migrations.AddIndex(
            model_name="outbox",
            index=django.contrib.postgres.indexes.BrinIndex(fields=["created_at"], name="orders_outbox_age"),
        ),
        migrations.AddIndex(
            model_name="staffaction",
            index=models.Index(fields=["target"], name="orders_stafflog"),
        ),
        migrations.AddField(
            model_name="timelineentry",
            name="order",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="timeline", to="orders.order"
            ),
        ),
        migrations.AddIndex(
            model_name="idempotencykey",
            index=django.contrib.postgres.indexes.BrinIndex(fields=["created_at"], name="orders_key_age"),
        ),
        migrations.AddConstraint(
            model_name="orderline",
            constraint=models.UniqueConstraint(fields=("order", "product_id"), name="orders_line_once"),
        ),
        migrations.AddConstraint(
            model_name="orderline",
            constraint=models.CheckConstraint(
                condition=models.Q(("quantity__gt", 0), ("unit_price__gte", 0)), name="orders_line_positive"
            ),
        ),
        migrations.AddIndex(
            model_name="unsent",
            index=models.Index(
                condition=models.Q(("deferred_until__isnull", False)),
                fields=["deferred_until"],
                name="orders_unsent_deferred",
            ),
        ),
        migrations.CreateModel(
            name="ParcelNumber",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "number", "order", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("number", models.CharField(max_length=64)),
                (
                    "order",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="numbers",
                        to="orders.order",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="orderline",
            index=models.Index(fields=["product_id", "-order"], name="orders_of_product"),
        ),
        migrations.CreateModel(
            name="Return",
            fields=[
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("user_id", models.BigIntegerField()),
                (
                    "kind",
                    models.CharField(choices=[("REFUND", "Refund"), ("EXCHANGE", "Exchange")], max_length=16),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("REQUESTED", "Requested"),
                            ("APPROVED", "Approved"),
                            ("LOST", "Lost"),
                            ("RECEIVED", "Received"),
                            ("SETTLING", "Settling"),
                            ("EXCHANGING", "Exchanging"),
                            ("REFUND_REFUSED", "Refund Refused"),
                            ("COMPLETED", "Completed"),
                            ("REFUSED", "Refused"),
                            ("WITHDRAWING", "Withdrawing"),
                            ("WITHDRAWN", "Withdrawn"),
                            ("EXPIRING", "Expiring"),
                            ("EXPIRED", "Expired"),
                        ],
                        default="REQUESTED",
                        max_length=16,
                    ),
                ),
                ("reason", models.CharField(blank=True, help_text="The customer's words.", max_length=200)),
                (
                    "refusal",
                    models.CharField(blank=True, db_default="", help_text="Why staff refuse it.", max_length=200),
                ),
                ("tracking_number", models.CharField(blank=True, db_default="", max_length=64)),
                ("currency", models.CharField(max_length=3)),
                ("refund_due", models.BigIntegerField(help_text="Empty until it is inspected.", null=True)),
                (
                    "kept",
                    models.BigIntegerField(db_default=0, help_text="Of what the pieces cost, by the owner's rule."),
                ),
                ("refunded", models.BigIntegerField(db_default=0)),
                (
                    "key",
                    models.CharField(
                        blank=True, db_default="", help_text="The Idempotency-Key; empty: none.", max_length=255
                    ),
                ),
                ("request_hash", models.CharField(blank=True, db_default="", max_length=64)),
                ("approved_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("progress_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("look_at", models.DateTimeField(null=True)),
                (
                    "looks",
                    models.PositiveIntegerField(db_default=0, help_text="Its checks since it last moved."),
                ),
                (
                    "order",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="returns",
                        to="orders.order",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ReturnLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("product_id", models.BigIntegerField()),
                ("quantity", models.PositiveIntegerField()),
                ("unit_price", models.BigIntegerField(help_text="What was paid for each piece.")),
                (
                    "exchange_product_id",
                    models.BigIntegerField(help_text="What it is exchanged for; empty for a refund.", null=True),
                ),
                ("exchange_product_name", models.CharField(blank=True, db_default="", max_length=200)),
                ("accepted", models.PositiveIntegerField(db_default=0, help_text="Paid back, and back on the shelf.")),
                (
                    "written_off",
                    models.PositiveIntegerField(db_default=0, help_text="Paid back, and not to be sold again."),
                ),
                ("rejected", models.PositiveIntegerField(db_default=0, help_text="Not paid back.")),
                (
                    "of_return",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="items",
                        to="orders.return",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="order",
            name="exchange_for",
            field=models.ForeignKey(
                db_index=False,
                help_text="The return whose pieces it brings anew: it costs nothing.",
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="exchanges",
                to="orders.return",
            ),
        ),
        migrations.AddConstraint(
            model_name="order",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("exchange_for", None), ("total_price__gt", 0)),
                    models.Q(("exchange_for__isnull", False), ("payment_gateway", ""), ("total_price", 0)),
                    _connector="OR",
                ),
                name="orders_total_positive",
            ),
        ),
        migrations.AddConstraint(
            model_name="order",
            constraint=models.UniqueConstraint(
                condition=models.Q(("exchange_for__isnull", False)),
                fields=("exchange_for",),
                name="orders_exchanged_once",
            ),
        ),
        migrations.AddIndex(
            model_name="return",
            index=models.Index(fields=["order"], name="orders_returns_of_order"),
        ),
        migrations.AddIndex(
            model_name="return",
            index=models.Index(fields=["user_id", "-id"], name="orders_returns_of_user"),
        ),
        migrations.AddIndex(
            model_name="return",
            index=models.Index(fields=["status", "-id"], name="orders_returns_in_status"),
        ),
        migrations.AddIndex(
            model_name="return",
            index=models.Index(
                condition=models.Q(("look_at__isnull", False)), fields=["look_at"], name="orders_returns_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="return",
            constraint=models.UniqueConstraint(
                condition=models.Q(("key", ""), _negated=True),
                fields=("order", "key"),
                name="orders_return_requested_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="return",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("refund_due", None), ("refunded", 0)),
                    models.Q(
                        ("kept__gte", 0),
                        ("refund_due__gte", 0),
                        ("refunded__gte", 0),
                        ("refunded__lte", models.F("refund_due")),
                    ),
                    _connector="OR",
                ),
                name="orders_return_refunded_within_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="returnline",
            constraint=models.UniqueConstraint(fields=("of_return", "product_id"), name="orders_returnline_once"),
        ),
        migrations.AddConstraint(
            model_name="returnline",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("quantity__gt", 0),
                    (
                        "quantity__gte",
                        django.db.models.expressions.CombinedExpression(
                            django.db.models.expressions.CombinedExpression(
                                models.F("accepted"), "+", models.F("written_off")
                            ),
                            "+",
                            models.F("rejected"),
                        ),
                    ),
                ),
                name="orders_returnline_within_quantity",
            ),
        ),
        migrations.CreateModel(
            name="Refund",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                (
                    "for_shipment",
                    models.PositiveSmallIntegerField(help_text="Of several, which did not arrive.", null=True),
                ),
                ("key", models.CharField(help_text="The Idempotency-Key of who asked for it.", max_length=255)),
                ("amount", models.BigIntegerField()),
                ("reason", models.CharField(max_length=200)),
                (
                    "status",
                    models.CharField(
                        choices=[("REQUESTED", "Requested"), ("COMPLETED", "Completed"), ("REFUSED", "Refused")],
                        db_default="REQUESTED",
                        max_length=16,
                    ),
                ),
                ("refusal", models.CharField(blank=True, db_default="", max_length=200)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "order",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="refunds",
                        to="orders.order",
                    ),
                ),
                (
                    "for_return",
                    models.ForeignKey(
                        help_text="That it pays back.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="refunds",
                        to="orders.return",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("order", "key"), name="orders_refund_once"),
                    models.CheckConstraint(condition=models.Q(("amount__gt", 0)), name="orders_refund_positive"),
                ],
            },
        ),
        migrations.CreateModel(
            name="OrderShipment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveSmallIntegerField()),
                ("location", models.CharField(max_length=16)),
                ("lines", sagas.db.fields.TextualJSONField(help_text="What is in it.")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("STARTED", "Started"),
                            ("SHIPPED", "Shipped"),
                            ("DELIVERED", "Delivered"),
                            ("FAILED", "Failed"),
                        ],
                        max_length=16,
                    ),
                ),
                ("tracking_number", models.CharField(blank=True, max_length=64)),
                (
                    "order",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="several_shipments",
                        to="orders.order",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("order", "number"), name="orders_shipment_once"),
                ],
            },
        ),
        migrations.CreateModel(
            name="OrderNote",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("author_id", models.BigIntegerField()),
                ("text", models.CharField(max_length=1000)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "order",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="notes", to="orders.order"
                    ),
                ),
            ],
            options={"ordering": ["pk"]},
        ),
        migrations.CreateModel(
            name="OrderChange",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("key", models.CharField(help_text="The Idempotency-Key of who asked for it.", max_length=255)),
                ("request_hash", models.CharField(max_length=64)),
                ("amount", models.BigIntegerField()),
                (
                    "of_address",
                    models.BooleanField(db_default=False, help_text="Whether the order goes elsewhere by it."),
                ),
                ("address", models.TextField(blank=True, db_default="", help_text="Sealed.")),
                ("reason", models.CharField(blank=True, max_length=200)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("WAITING", "Waiting"),
                            ("REQUESTED", "Requested"),
                            ("MADE", "Made"),
                            ("REFUSED", "Refused"),
                            ("CANCELLED_ORDER", "Cancelled Order"),
                        ],
                        db_default="REQUESTED",
                        max_length=16,
                    ),
                ),
                ("refusal", models.CharField(blank=True, db_default="", max_length=200)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "order",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="changes",
                        to="orders.order",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("order", "key"), name="orders_change_once"),
                    models.UniqueConstraint(
                        condition=models.Q(("status__in", ["WAITING", "REQUESTED"])),
                        fields=("order",),
                        name="orders_one_change_at_a_time",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("status", "REFUSED"), ("refusal", ""), _connector="OR"),
                        name="orders_change_refusal_of_refused",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="OrderChangeLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("product_id", models.BigIntegerField()),
                ("product_name", models.CharField(max_length=200)),
                ("unit_price", models.BigIntegerField()),
                (
                    "quantity",
                    models.IntegerField(help_text="Of the change: less than nothing is taken away."),
                ),
                (
                    "change",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lines",
                        to="orders.orderchange",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "constraints": [
                    models.UniqueConstraint(fields=("change", "product_id"), name="orders_change_line_once"),
                    models.CheckConstraint(
                        condition=models.Q(("quantity", 0), _negated=True), name="orders_change_line_changes"
                    ),
                ],
            },
        ),
        migrations.RunSQL(APPEND_ONLY.format(service="orders"), FORGET.format(service="orders")),
        # Rows that are written again: while their pages have room, their indexes need no new entries.
        migrations.RunSQL(
            "ALTER TABLE orders_order SET (fillfactor = 50); ALTER TABLE orders_unsent SET (fillfactor = 50)",
            "ALTER TABLE orders_order RESET (fillfactor); ALTER TABLE orders_unsent RESET (fillfactor)",
        ),
    ]
