"""The laboratory: tools that exercise the shop and measure it. No part of the shop imports it.

loadtest/    how much load the shop takes, and how long orders take under it: `manage.py loadtest`
chaos/       whether anything is lost or done twice while everything fails: `manage.py chaos`
demo/        the flows of the README, played on the embedded shop: `manage.py demo`
rig/         servers and processes of a run's own, which chaos and the load test start
orders.py    what is ordered, the same for the same seed
measures.py  percentiles, unfinished work, locks that are held
charts.py    figures as SVG and HTML

`manage.py trace` draws the spans of an order from the file that TRACE_FILE names.

The production image has `trace` and `loadtest`, which can put a deployed shop under load, with what they need, but not
chaos, demo and rig (.dockerignore).
"""
