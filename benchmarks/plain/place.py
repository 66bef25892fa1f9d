"""Places as many orders as each line of standard input says; answers [first id, last id, the database's time]."""

import json
import sys

from django.core.management import call_command
from django.db import connection

from benchmarks.plain.tasks import reserve  # sets Django up

from benchmarks.plain.models import Order  # isort: skip


def place(count: int) -> tuple[int, int, float]:
    """Commit the orders, then send a message for each."""
    orders = Order.objects.bulk_create([Order() for _ in range(count)])
    for order in orders:
        reserve.delay(order.pk)
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float")
        return orders[0].pk, orders[-1].pk, cursor.fetchone()[0]


if __name__ == "__main__":
    call_command("migrate", run_syncdb=True, verbosity=0)
    for line in sys.stdin:
        print(json.dumps(place(int(line.split()[1]))), flush=True)
