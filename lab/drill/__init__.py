"""`manage.py drill`: the shop on seven PostgreSQL servers that are backed up, lost under load, and restored.

databases.py   seven servers, each with its log archived by pgBackRest
session.py     runs the command: load, disaster, restore, repair, and the figures
"""
