import django.core.serializers.json
import django.core.validators
import django.db.models.functions.datetime
import django.db.models.functions.text
from django.db import migrations, models

import shop.money
from catalog.search import COLUMN, FUNCTION, INDEX
from shop.stafflog import APPEND_ONLY, FORGET


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Product",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200)),
                (
                    "sort_name",
                    models.GeneratedField(
                        db_persist=True,
                        expression=django.db.models.functions.text.Lower("name"),
                        output_field=models.CharField(max_length=200),
                    ),
                ),
                ("description", models.TextField(blank=True, max_length=2000)),
                (
                    "price",
                    models.BigIntegerField(
                        help_text="In the currency's minor unit: 3500000 is ₩3,500,000.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(9007199254740991),
                        ],
                    ),
                ),
                ("currency", models.CharField(default="KRW", max_length=3, validators=[shop.money.check_currency])),
                (
                    "category",
                    models.CharField(
                        choices=[
                            ("ELECTRONICS", "Electronics"),
                            ("FASHION", "Fashion"),
                            ("FOOD", "Food"),
                            ("BEAUTY", "Beauty"),
                            ("SPORTS", "Sports"),
                            ("BOOK", "Books"),
                            ("HOME", "Home & living"),
                            ("TOY", "Toys"),
                            ("ETC", "Other"),
                        ],
                        default="ETC",
                        max_length=16,
                    ),
                ),
                ("brand", models.CharField(blank=True, max_length=100)),
                ("image_url", models.URLField(blank=True, max_length=500, verbose_name="image URL")),
                ("active", models.BooleanField(default=True, verbose_name="on sale")),
                (
                    "version",
                    models.PositiveIntegerField(default=1, editable=False, help_text="One more with every change."),
                ),
                (
                    "form",
                    models.UUIDField(
                        editable=False, help_text="One sent twice makes one product.", null=True, unique=True
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["category", "id"], name="catalog_product_category_idx"),
                    models.Index(fields=["price", "id"], name="catalog_product_price_idx"),
                    models.Index(fields=["sort_name", "id"], name="catalog_product_name_idx"),
                    models.Index(fields=["created_at", "id"], name="catalog_product_created_idx"),
                    models.Index(
                        django.db.models.functions.text.Upper("brand"), "id", name="catalog_product_brand_idx"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("price__gt", 0)), name="catalog_product_price_positive"),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "category__in",
                                ["ELECTRONICS", "FASHION", "FOOD", "BEAUTY", "SPORTS", "BOOK", "HOME", "TOY", "ETC"],
                            )
                        ),
                        name="catalog_product_category",
                    ),
                ],
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
                "indexes": [models.Index(fields=["target"], name="catalog_stafflog")],
            },
        ),
        migrations.RunSQL(FUNCTION, "DROP FUNCTION catalog_grams(text)"),
        migrations.RunSQL(COLUMN, "ALTER TABLE catalog_product DROP COLUMN searched"),
        migrations.RunSQL(INDEX, "DROP INDEX catalog_product_grams"),
        migrations.RunSQL(APPEND_ONLY.format(service="catalog"), FORGET.format(service="catalog")),
    ]
