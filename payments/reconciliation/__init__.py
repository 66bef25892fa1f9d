"""A provider's books of a day, its statement or a settlement file, compared with our ledger.

`matching.py` decides which movement is which entry of ours, `runs.py` reads, compares and stores a whole day.
"""
