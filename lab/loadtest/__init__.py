"""`manage.py loadtest`: how much load the shop takes, and how long until orders are answered, paid and completed.

profiles.py  what is ordered, and how fast
http.py      requests, with as little CPU time as possible
people.py    customers and staff, signed in
run.py       the load from beginning to end
follow.py    what happens to the orders, seen from outside
inside.py    and from inside, where databases and processes are accessible
measure.py   latencies, clocks, and whether the client itself was the bottleneck
results.py   all of it as data
watch.py tables.py report.py compare.py    the presentation
"""
