"""`manage.py chaos`: load from a client that writes down what it was told, while everything below it is made to fail.

plan.py       what is ordered and what fails, all from one seed
servers.py    a PostgreSQL, a RabbitMQ and a Redis of the run's own
processes.py  the shop's processes, started again when they die
system.py     servers and processes together, up and down; `manage.py loadtest` has one, too
faults.py     each fault, and how it is known that it really happened
client.py     places and cancels orders: each ended ok, failed, or unknown
verdict.py    what must hold at the end, and the figures
report.py     the figures as a page
run.py        all of it in order
"""
