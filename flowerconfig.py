"""Flower's settings; it reads this file where it is started, and every setting from FLOWER_… in the environment.

It shows what the publisher says of a message (`3 × OrderCreated (order 7, …)`), never the events themselves. Without a
password it does not start. It only shows: a task revoked by hand would be a message lost.
"""

import re

from flower.views import monitor
from tornado.options import options
from tornado.web import authenticated

if not options.basic_auth or not all(re.fullmatch(".+:.+", one) for one in options.basic_auth):
    raise SystemExit("Flower needs a password: set FLOWER_BASIC_AUTH, as in FLOWER_BASIC_AUTH=admin:a-long-password")

monitor.Metrics.get = authenticated(monitor.Metrics.get)  # Flower shows them to anybody; only its health is for probes
read_only = True
max_tasks = 10_000  # that it remembers
purge_offline_workers = 60  # seconds
enable_events = True  # asks workers to tell of their tasks, which they do not do otherwise
tasks_columns = "name,uuid,state,args,received,started,runtime,worker"
natural_time = False
