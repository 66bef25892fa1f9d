from django.db import migrations


class Migration(migrations.Migration):
    """A reservation is written again when it ends, stock with each batch. While their pages have room, their indexes need
    no new entries for that."""

    dependencies = [
        ("inventory", "0003_repeats"),
    ]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE inventory_reservation SET (fillfactor = 50); ALTER TABLE inventory_stockitem SET (fillfactor = 25)",
            "ALTER TABLE inventory_reservation RESET (fillfactor); ALTER TABLE inventory_stockitem RESET (fillfactor)",
        ),
    ]
