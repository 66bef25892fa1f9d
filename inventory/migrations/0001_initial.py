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
            name="Location",
            fields=[
                (
                    "code",
                    models.CharField(
                        help_text="How files and the API call it: capital letters, digits, - and _. It stays as it is.",
                        max_length=16,
                        primary_key=True,
                        serialize=False,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[A-Z0-9][A-Z0-9_-]*\\Z", "Capital letters, digits, - and _."
                            )
                        ],
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                (
                    "priority",
                    models.PositiveSmallIntegerField(
                        default=100,
                        help_text="Of locations that have the goods, the one with the lowest number comes first.",
                    ),
                ),
            ],
            options={
                "ordering": ["priority", "code"],
            },
        ),
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
            name="Reservation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("order_id", models.BigIntegerField(unique=True)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("RESERVED", "Reserved"),
                            ("REFUSED", "Refused"),
                            ("SHIPPED", "Shipped"),
                            ("RELEASED", "Released"),
                            ("RETURNED", "Returned"),
                        ],
                        max_length=16,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=200)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
        ),
        migrations.CreateModel(
            name="ReservationLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "shipment",
                    models.PositiveSmallIntegerField(
                        db_default=0, help_text="Which of the order's shipments it is in. 0: the order has only one."
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("RESERVED", "Reserved"),
                            ("REFUSED", "Refused"),
                            ("SHIPPED", "Shipped"),
                            ("RELEASED", "Released"),
                            ("RETURNED", "Returned"),
                        ],
                        db_default="",
                        help_text="Of a line in one of several shipments, as soon as it differs from the reservation's.",
                        max_length=16,
                    ),
                ),
                ("product_id", models.BigIntegerField()),
                (
                    "location",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="inventory.location",
                    ),
                ),
                ("quantity", models.PositiveIntegerField()),
            ],
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
            name="StockItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "product_id",
                    models.BigIntegerField(validators=[django.core.validators.MinValueValidator(1)]),
                ),
                (
                    "location",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, to="inventory.location"
                    ),
                ),
                ("on_hand", models.IntegerField(default=0)),
                ("reserved", models.IntegerField(default=0)),
                (
                    "low_below",
                    models.PositiveIntegerField(
                        db_default=10,
                        help_text="Stock is low when fewer pieces can be sold. 0: it never is.",
                        verbose_name="low below",
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "verbose_name": "stock item",
            },
        ),
        migrations.CreateModel(
            name="StockMovement",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("product_id", models.BigIntegerField(db_index=True)),
                (
                    "location",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        to="inventory.location",
                    ),
                ),
                ("delta", models.IntegerField(help_text="Pieces: positive came, negative went.")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("ADJUSTMENT", "Adjustment"),
                            ("SHIPMENT", "Shipment"),
                            ("RETURN", "Return"),
                            ("WRITE_OFF", "Write Off"),
                        ],
                        max_length=16,
                    ),
                ),
                ("order_id", models.BigIntegerField(null=True)),
                (
                    "return_id",
                    models.BigIntegerField(
                        help_text="What a customer sent back; empty: the parcel came back.", null=True
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=200)),
                (
                    "booking",
                    models.UUIDField(help_text="Of the form it was booked with: one sent twice books once.", null=True),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
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
                        condition=models.Q(("resolved_at", None)), fields=["event_id"], name="inventory_deadletter_open"
                    )
                ],
                "constraints": [models.UniqueConstraint(fields=("event_id", "step"), name="inventory_deadletter_once")],
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
                        name="inventory_inbox_deferred",
                    ),
                    models.Index(fields=["correlation_id"], name="inventory_inbox_key"),
                    django.contrib.postgres.indexes.BrinIndex(fields=["handled_at"], name="inventory_inbox_age"),
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
                        to="inventory.outbox",
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
            index=models.Index(fields=["correlation_id"], name="inventory_outbox_key"),
        ),
        migrations.AddIndex(
            model_name="outbox",
            index=models.Index(
                condition=models.Q(("caused_by__isnull", False)), fields=["caused_by"], name="inventory_outbox_cause"
            ),
        ),
        migrations.AddIndex(
            model_name="outbox",
            index=django.contrib.postgres.indexes.BrinIndex(fields=["created_at"], name="inventory_outbox_age"),
        ),
        migrations.AddField(
            model_name="reservationline",
            name="reservation",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="lines",
                to="inventory.reservation",
            ),
        ),
        migrations.AddIndex(
            model_name="staffaction",
            index=models.Index(fields=["target"], name="inventory_stafflog"),
        ),
        migrations.AddConstraint(
            model_name="stockitem",
            constraint=models.UniqueConstraint(
                fields=("product_id", "location"),
                name="inventory_stock_once_per_location",
                violation_error_message="There is a stock record of this product at this location already.",
            ),
        ),
        migrations.AddConstraint(
            model_name="stockitem",
            constraint=models.CheckConstraint(
                condition=models.Q(("reserved__gte", 0), ("reserved__lte", models.F("on_hand"))),
                name="inventory_stock_never_oversold",
                violation_error_message="0 ≤ reserved ≤ on hand must hold.",
            ),
        ),
        migrations.AddConstraint(
            model_name="stockmovement",
            constraint=models.CheckConstraint(
                condition=models.Q(("delta", 0), _negated=True), name="inventory_movement_moves"
            ),
        ),
        migrations.AddConstraint(
            model_name="stockmovement",
            constraint=models.UniqueConstraint(
                condition=models.Q(("booking__isnull", False)),
                fields=("booking",),
                name="inventory_movement_booked_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="stockmovement",
            constraint=models.UniqueConstraint(
                condition=models.Q(("order_id__isnull", False)),
                fields=("order_id", "product_id", "location", "kind", "return_id"),
                name="inventory_movement_once_per_order",
                nulls_distinct=False,
            ),
        ),
        migrations.AddIndex(
            model_name="unsent",
            index=models.Index(
                condition=models.Q(("deferred_until__isnull", False)),
                fields=["deferred_until"],
                name="inventory_unsent_deferred",
            ),
        ),
        migrations.AddConstraint(
            model_name="reservationline",
            constraint=models.UniqueConstraint(
                fields=("reservation", "product_id", "location"), name="inventory_reservation_line_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="reservationline",
            constraint=models.CheckConstraint(
                condition=models.Q(("quantity__gt", 0)), name="inventory_reservation_line_positive"
            ),
        ),
        migrations.RunSQL(APPEND_ONLY.format(service="inventory"), FORGET.format(service="inventory")),
        # Rows that are written again: while their pages have room, their indexes need no new entries.
        migrations.RunSQL(
            "ALTER TABLE inventory_reservation SET (fillfactor = 50); ALTER TABLE inventory_stockitem SET (fillfactor = 25); ALTER TABLE inventory_unsent SET (fillfactor = 50)",
            "ALTER TABLE inventory_reservation RESET (fillfactor); ALTER TABLE inventory_stockitem RESET (fillfactor); ALTER TABLE inventory_unsent RESET (fillfactor)",
        ),
    ]
