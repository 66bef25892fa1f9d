"""The four steps as a DBOS workflow: recorded step by step in PostgreSQL, queued there, no broker.

Runs in a virtual environment of its own, `var/dbos`: DBOS brings psycopg 3, which Django prefers to psycopg2.

    python -m benchmarks.durable work NUMBER    runs workflows
    python -m benchmarks.durable place          places as many orders as each line of standard input says
"""

import json
import os
import signal
import sys
import threading

import sqlalchemy
from dbos import DBOS, DBOSClient, SQLAlchemyDatasource

URL = os.environ["DBOS_URL"].replace("postgres://", "postgresql+psycopg://", 1)
QUEUE = "orders"
CONCURRENCY = int(os.environ.get("DBOS_CONCURRENCY", "8"))  # workflows at the same time in each process
POLL = 0.02  # seconds between polls of the queue; the default is a second
NOW = "SELECT extract(epoch FROM clock_timestamp())::float"

effects = SQLAlchemyDatasource.create(URL, {"pool_size": CONCURRENCY}, run_migrations=True)


def effect(table: str, order_id: int) -> None:
    """Insert a step's row, in the transaction that records the step."""

    def write() -> None:
        effects.sql_session().execute(
            sqlalchemy.text(f"INSERT INTO {table} (order_id) VALUES (:order_id)"), {"order_id": order_id}
        )

    effects.run_tx_step({"name": table, "isolation_level": "READ COMMITTED"}, write)


@DBOS.workflow()
def saga(order_id: int) -> None:
    for table in ("reservation", "payment", "delivery", "completion"):
        effect(table, order_id)


def work(number: str) -> None:
    DBOS(
        config={
            "name": "bench",
            "system_database_url": URL,
            "executor_id": f"worker{number}",
            "application_version": "1",
            "log_level": "WARNING",
            "sys_db_pool_size": CONCURRENCY + 4,
            "max_executor_threads": CONCURRENCY + 4,
        }
    )
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=CONCURRENCY, polling_interval_sec=POLL)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    DBOS.destroy()


def place() -> None:
    from dbos import run_dbos_database_migrations

    run_dbos_database_migrations(URL)
    client = DBOSClient(system_database_url=URL)
    engine = sqlalchemy.create_engine(URL)
    for line in sys.stdin:
        with engine.begin() as connection:
            rows = connection.execute(
                sqlalchemy.text(
                    "INSERT INTO placed (at) SELECT clock_timestamp() FROM generate_series(1, :n) RETURNING id"
                ),
                {"n": int(line.split()[1])},
            )
            ids = sorted(row[0] for row in rows)
            for order_id in ids:
                client.enqueue_in_transaction(
                    connection, {"queue_name": QUEUE, "workflow_name": "saga", "app_version": "1"}, order_id
                )
        with engine.begin() as connection:
            at = connection.execute(sqlalchemy.text(NOW)).scalar_one()
        print(json.dumps([ids[0], ids[-1], at]), flush=True)


if __name__ == "__main__":
    place() if sys.argv[1] == "place" else work(sys.argv[2])
