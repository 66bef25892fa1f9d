"""A complete temporary shop, for chaos and for the load test without --url.

servers.py    a PostgreSQL, a RabbitMQ and a Redis on free ports
processes.py  the shop's processes, started again when they die
system.py     servers and processes together, up and down
memory.py     how much memory the processes take
"""
