import django.contrib.postgres.indexes
import django.core.serializers.json
import django.core.validators
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
            name="Payment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("order_id", models.BigIntegerField(unique=True)),
                (
                    "idempotency_key",
                    models.CharField(
                        help_text="Its name at its gateway, made once: the same however often the gateway is asked.",
                        max_length=64,
                    ),
                ),
                ("user_id", models.BigIntegerField(help_text="Empty for a tombstone.", null=True)),
                ("amount", models.BigIntegerField(default=0)),
                ("currency", models.CharField(blank=True, max_length=3)),
                (
                    "gateway",
                    models.CharField(
                        blank=True,
                        help_text="Empty for a tombstone, and for what costs nothing: no gateway is asked.",
                        max_length=32,
                    ),
                ),
                (
                    "capture_later",
                    models.BooleanField(db_default=False, help_text="Held first, and taken at hand-over."),
                ),
                (
                    "reference",
                    models.CharField(blank=True, help_text="The payment, as its gateway calls it.", max_length=128),
                ),
                ("authorized", models.BigIntegerField(db_default=0)),
                ("captured", models.BigIntegerField(db_default=0)),
                ("refunded", models.BigIntegerField(db_default=0)),
                ("action_url", models.TextField(blank=True, db_default="", help_text="Where its customer pays.")),
                ("action_until", models.DateTimeField(null=True)),
                (
                    "action_details",
                    sagas.db.fields.TextualJSONField(help_text="What the customer needs for a deposit.", null=True),
                ),
                (
                    "returned_with",
                    sagas.db.fields.TextualJSONField(
                        help_text="The query with which its customer came back.", null=True
                    ),
                ),
                (
                    "token",
                    models.TextField(blank=True, help_text="Sealed, and empty when there is nothing more to charge."),
                ),
                (
                    "checkout",
                    sagas.db.fields.TextualJSONField(
                        help_text="What PaymentCompleted or PaymentAuthorized carries on.", null=True
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("PENDING", "Pending"),
                            ("WAITING", "Waiting"),
                            ("AUTHORIZED", "Authorized"),
                            ("CAPTURING", "Capturing"),
                            ("UNPAID", "Unpaid"),
                            ("WRITTEN_OFF", "Written Off"),
                            ("COMPLETED", "Completed"),
                            ("FAILED", "Failed"),
                            ("REFUNDING", "Refunding"),
                            ("REFUNDED", "Refunded"),
                            ("VOIDED", "Voided"),
                        ],
                        max_length=16,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=200)),
                (
                    "attempts",
                    models.PositiveIntegerField(
                        default=0, help_text="Unanswered questions since the status last changed."
                    ),
                ),
                ("due_at", models.DateTimeField(null=True)),
                ("caused_by", models.UUIDField(null=True)),
                ("trace", models.CharField(blank=True, max_length=64)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("refunded_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="PaymentAttempt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "operation",
                    models.CharField(
                        choices=[
                            ("CHARGE", "Charge"),
                            ("CONFIRM", "Confirm"),
                            ("CAPTURE", "Capture"),
                            ("VOID", "Void"),
                            ("REFUND", "Refund"),
                            ("FIND", "Find"),
                        ],
                        max_length=8,
                    ),
                ),
                ("outcome", models.CharField(max_length=16)),
                ("detail", models.CharField(blank=True, max_length=200)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "ordering": ["pk"],
            },
        ),
        migrations.CreateModel(
            name="PaymentOperation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("AUTHORIZE", "Authorize"),
                            ("CHARGE", "Charge"),
                            ("CAPTURE", "Capture"),
                            ("RELEASE", "Release"),
                            ("VOID", "Void"),
                            ("REFUND", "Refund"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "key",
                    models.CharField(help_text="The same however often the gateway is asked for it.", max_length=80),
                ),
                ("amount", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                (
                    "outcome",
                    models.CharField(
                        choices=[("OPEN", "Open"), ("SUCCEEDED", "Succeeded"), ("REFUSED", "Refused")],
                        db_default="OPEN",
                        max_length=16,
                    ),
                ),
                ("reference", models.CharField(blank=True, db_default="", help_text="The gateway's.", max_length=128)),
                (
                    "reason",
                    models.CharField(
                        blank=True, db_default="", help_text="Why we ask, or why it was refused.", max_length=200
                    ),
                ),
                (
                    "caused_by",
                    models.UUIDField(
                        help_text="The event that requested this; redelivering it re-emits the outcome.", null=True
                    ),
                ),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("settled_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ["pk"],
            },
        ),
        migrations.CreateModel(
            name="SandboxPage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("gateway", models.CharField(max_length=32)),
                ("payment", models.CharField(max_length=64)),
                ("key", models.CharField(max_length=80)),
                ("amount", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("capture", models.BooleanField()),
                ("deposit", models.BooleanField()),
                ("url", models.TextField()),
                ("until", models.DateTimeField()),
                (
                    "decision",
                    models.CharField(
                        choices=[("OPEN", "Open"), ("PAID", "Paid"), ("GIVEN_UP", "Given Up"), ("VOIDED", "Voided")],
                        db_default="OPEN",
                        max_length=8,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SandboxRequest",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "gateway", "operation", "key", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("gateway", models.CharField(max_length=32)),
                ("operation", models.CharField(max_length=16)),
                ("key", models.CharField(max_length=80)),
                ("requests", models.PositiveIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="SandboxSwitch",
            fields=[
                (
                    "gateway",
                    models.CharField(
                        choices=[
                            ("TOSS_PAYMENTS", "TOSS_PAYMENTS"),
                            ("KAKAO_PAY", "KAKAO_PAY"),
                            ("NAVER_PAY", "NAVER_PAY"),
                        ],
                        max_length=32,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("away", models.BooleanField(default=False)),
            ],
            options={
                "verbose_name_plural": "sandbox switches",
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
                        condition=models.Q(("resolved_at", None)), fields=["event_id"], name="payments_deadletter_open"
                    )
                ],
                "constraints": [models.UniqueConstraint(fields=("event_id", "step"), name="payments_deadletter_once")],
            },
        ),
        migrations.CreateModel(
            name="GatewayLedger",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("gateway", models.CharField(max_length=32)),
                ("payment", models.CharField(help_text="The payment's name at its gateway.", max_length=64)),
                ("key", models.CharField(help_text="Of the operation.", max_length=80)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("AUTHORIZE", "Authorize"),
                            ("CHARGE", "Charge"),
                            ("CAPTURE", "Capture"),
                            ("RELEASE", "Release"),
                            ("VOID", "Void"),
                            ("REFUND", "Refund"),
                        ],
                        max_length=16,
                    ),
                ),
                ("amount", models.BigIntegerField(validators=[django.core.validators.MinValueValidator(1)])),
                ("currency", models.CharField(max_length=3)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "verbose_name": "gateway ledger entry",
                "verbose_name_plural": "gateway ledger",
                "constraints": [
                    models.UniqueConstraint(fields=("gateway", "payment", "key"), name="payments_ledger_once"),
                    models.CheckConstraint(condition=models.Q(("amount__gt", 0)), name="payments_ledger_positive"),
                ],
            },
        ),
        migrations.CreateModel(
            name="GatewayNotification",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("gateway", models.CharField(max_length=32)),
                ("event_id", models.CharField(max_length=128)),
                (
                    "payment",
                    models.CharField(blank=True, help_text="The payment's name at its gateway.", max_length=64),
                ),
                (
                    "reference",
                    models.CharField(blank=True, help_text="The payment, as its gateway calls it.", max_length=128),
                ),
                ("received_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("gateway", "event_id"), name="payments_notified_once")],
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
                        name="payments_inbox_deferred",
                    ),
                    models.Index(fields=["correlation_id"], name="payments_inbox_key"),
                    django.contrib.postgres.indexes.BrinIndex(fields=["handled_at"], name="payments_inbox_age"),
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
                        to="payments.outbox",
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
            index=models.Index(fields=["correlation_id"], name="payments_outbox_key"),
        ),
        migrations.AddIndex(
            model_name="outbox",
            index=models.Index(
                condition=models.Q(("caused_by__isnull", False)), fields=["caused_by"], name="payments_outbox_cause"
            ),
        ),
        migrations.AddIndex(
            model_name="outbox",
            index=django.contrib.postgres.indexes.BrinIndex(fields=["created_at"], name="payments_outbox_age"),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(fields=["user_id", "-id"], name="payments_of_user"),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="payments_due"),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount__gt", 0),
                    models.Q(("amount", 0), ("gateway", ""), ("status__in", ["COMPLETED", "VOIDED"])),
                    _connector="OR",
                ),
                name="payments_amount_positive",
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(("authorized__gte", 0), ("authorized__lte", models.F("amount"))),
                name="payments_authorized_within_amount",
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(("captured__gte", 0), ("captured__lte", models.F("authorized"))),
                name="payments_captured_within_authorized",
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(("refunded__gte", 0), ("refunded__lte", models.F("captured"))),
                name="payments_refunded_within_captured",
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("due_at", None),
                    models.Q(("status__in", ["REFUNDED", "UNPAID", "WRITTEN_OFF"]), _negated=True),
                    _connector="OR",
                ),
                name="payments_settled_asks_nothing",
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("due_at__isnull", False),
                    models.Q(("status__in", ["REFUNDING", "WAITING", "AUTHORIZED", "CAPTURING"]), _negated=True),
                    _connector="OR",
                ),
                name="payments_refunding_is_asked_again",
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("due_at", None),
                    models.Q(("status__in", ["PENDING", "WAITING"]), _negated=True),
                    ("checkout__isnull", False),
                    _connector="OR",
                ),
                name="payments_asked_again_can_go_on",
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("authorized__gt", 0), ("capture_later", True), ("captured", 0)),
                    models.Q(("status__in", ["AUTHORIZED", "CAPTURING", "UNPAID", "WRITTEN_OFF"]), _negated=True),
                    _connector="OR",
                ),
                name="payments_held_is_not_taken",
            ),
        ),
        migrations.AddField(
            model_name="paymentattempt",
            name="payment",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="asked", to="payments.payment"
            ),
        ),
        migrations.AddField(
            model_name="paymentoperation",
            name="payment",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="operations",
                to="payments.payment",
            ),
        ),
        migrations.AddConstraint(
            model_name="sandboxpage",
            constraint=models.UniqueConstraint(fields=("gateway", "payment"), name="payments_page_once"),
        ),
        migrations.AddIndex(
            model_name="staffaction",
            index=models.Index(fields=["target"], name="payments_stafflog"),
        ),
        migrations.AddIndex(
            model_name="unsent",
            index=models.Index(
                condition=models.Q(("deferred_until__isnull", False)),
                fields=["deferred_until"],
                name="payments_unsent_deferred",
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentoperation",
            constraint=models.UniqueConstraint(fields=("payment", "key"), name="payments_operation_once"),
        ),
        migrations.AddConstraint(
            model_name="paymentoperation",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount__gt", 0)), name="payments_operation_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="paymentoperation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("outcome", "OPEN"), ("settled_at", None)),
                    models.Q(("settled_at__isnull", False), models.Q(("outcome", "OPEN"), _negated=True)),
                    _connector="OR",
                ),
                name="payments_operation_settled",
            ),
        ),
        migrations.CreateModel(
            name="Reconciliation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("gateway", models.CharField(max_length=32)),
                ("day", models.DateField(help_text="In the provider's time zone.")),
                (
                    "source",
                    models.CharField(
                        blank=True, help_text="The settlement file; empty: the provider's API.", max_length=200
                    ),
                ),
                ("movements", models.PositiveIntegerField(db_default=0, help_text="That the provider lists.")),
                ("entries", models.PositiveIntegerField(db_default=0, help_text="Of our ledger on that day.")),
                ("missing_here", models.PositiveIntegerField(db_default=0)),
                ("missing_there", models.PositiveIntegerField(db_default=0)),
                ("other_amount", models.PositiveIntegerField(db_default=0)),
                (
                    "on_another_day",
                    models.PositiveIntegerField(db_default=0, help_text="Made near midnight: no difference."),
                ),
                ("started_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("ended_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("ended_at__isnull", False)),
                        fields=("gateway", "day"),
                        name="payments_reconciled_once",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ReconciliationDifference",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("MISSING_HERE", "Missing Here"),
                            ("MISSING_THERE", "Missing There"),
                            ("OTHER_AMOUNT", "Other Amount"),
                        ],
                        max_length=16,
                    ),
                ),
                ("movement", models.CharField(choices=[("CAPTURE", "Capture"), ("REFUND", "Refund")], max_length=16)),
                ("order_id", models.BigIntegerField(help_text="Empty if we know of no such payment.", null=True)),
                (
                    "reference",
                    models.CharField(blank=True, help_text="The payment, as its gateway calls it.", max_length=128),
                ),
                ("ours", models.BigIntegerField(null=True)),
                ("theirs", models.BigIntegerField(null=True)),
                ("currency", models.CharField(max_length=3)),
                ("at", models.DateTimeField()),
                ("detail", models.CharField(blank=True, max_length=200)),
                (
                    "reconciliation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="differences",
                        to="payments.reconciliation",
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
            },
        ),
        migrations.CreateModel(
            name="StatementEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(blank=True, help_text="The payment's name at its gateway.", max_length=64)),
                ("reference", models.CharField(max_length=128)),
                ("key", models.CharField(blank=True, max_length=80)),
                ("kind", models.CharField(max_length=16)),
                ("amount", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("at", models.DateTimeField()),
                (
                    "payment",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="payments.payment",
                    ),
                ),
                (
                    "reconciliation",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lines",
                        to="payments.reconciliation",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["reconciliation", "payment"], name="payments_statement_of")],
            },
        ),
        migrations.RunSQL(APPEND_ONLY.format(service="payments"), FORGET.format(service="payments")),
        # Rows that are written again: while their pages have room, their indexes need no new entries.
        migrations.RunSQL(
            "ALTER TABLE payments_payment SET (fillfactor = 45); ALTER TABLE payments_paymentoperation SET (fillfactor = 45); ALTER TABLE payments_unsent SET (fillfactor = 50)",  # noqa: E501
            "ALTER TABLE payments_payment RESET (fillfactor); ALTER TABLE payments_paymentoperation RESET (fillfactor); ALTER TABLE payments_unsent RESET (fillfactor)",  # noqa: E501
        ),
    ]
