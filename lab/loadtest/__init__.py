"""`manage.py loadtest`: how much the shop carries, and how long orders take until they are answered, paid, completed.

profiles.py  what is ordered, and how fast
http.py      requests, with as little work as can be
people.py    customers and staff, signed in
run.py       the load from beginning to end
follow.py    what becomes of the orders, seen from outside
inside.py    and from inside, where databases and processes are at hand
measure.py   latencies, clocks, and what the client itself had to do with it
results.py   all of it as data
watch.py tables.py report.py compare.py    to look at
"""
