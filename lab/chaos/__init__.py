"""`manage.py chaos`: load from a client that records every response, while everything below it is made to fail.

session.py    runs the command with its options
plan.py       what is ordered and what fails, all from one seed
faults.py     each fault, and the proof that it really happened
client.py     places and cancels orders: each ended ok, failed, or unknown
run.py        load, faults and rest, in order, on a system of its own (lab/rig)
customers.py  those who pay on a provider's page
books.py      the providers' own books, compared with our ledger
verdict.py    what must hold at the end, and the figures
tables.py     the figures in the terminal
report.py     the figures as a page
"""
