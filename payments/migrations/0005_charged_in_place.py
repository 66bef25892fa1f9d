from django.db import migrations, models


class Migration(migrations.Migration):
    """A charge is written into the payment's row, on its own page, and no index needs a new entry for that: `due_at`
    stays empty until the timer has something to ask."""

    dependencies = [
        ("payments", "0004_lighter_messages"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="payment",
            name="payments_open_is_asked_again",
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("due_at__isnull", False), models.Q(("status", "REFUNDING"), _negated=True), _connector="OR"
                ),
                name="payments_refunding_is_asked_again",
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("due_at", None),
                    models.Q(("status", "PENDING"), _negated=True),
                    ("checkout__isnull", False),
                    _connector="OR",
                ),
                name="payments_asked_again_can_go_on",
            ),
        ),
        migrations.RunSQL(
            "ALTER TABLE payments_payment SET (fillfactor = 50)", "ALTER TABLE payments_payment RESET (fillfactor)"
        ),
    ]
