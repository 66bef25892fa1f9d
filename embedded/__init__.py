"""The embedded mode: the whole shop in one process, on a PostgreSQL from a wheel. For development and the demo.

runtime      starts and stops everything, in order        server       starts and stops that PostgreSQL
components   worker, relays, timers, web server           postgresql   its Django database backend
"""
