"""The embedded mode: everything in one process, on a PostgreSQL that comes as a wheel. For development and the demo.

server      starts that PostgreSQL and sees to it that it ends      postgresql   the Django database backend on it
components  worker, relay, timers and web server as threads         runtime      all of it, in order, up and down
"""
