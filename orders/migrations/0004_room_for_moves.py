from django.db import migrations


class Migration(migrations.Migration):
    """An order is written again with each move. While its page has room, its indexes need no new entries for that."""

    dependencies = [
        ("orders", "0003_repeats"),
    ]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE orders_order SET (fillfactor = 50); ALTER TABLE orders_outbox SET (fillfactor = 50)",
            "ALTER TABLE orders_order RESET (fillfactor); ALTER TABLE orders_outbox RESET (fillfactor)",
        ),
    ]
