"""Saves the services' databases statements. The kernel needs none of it.

bulk        many rows in one statement                     clock       the server's time, without a query
postgresql  checks a connection's health without a query
"""
