"""The pages that show the shop at work: live state, the saga of an order, dead letters, fault switches.

state      what is up and what waits         ordering   placing a sample customer's order    samples   sample data
saga       an order's saga as rows           texts      the pages' texts, English and Korean
letters    dead letters of all services      pages      permissions, language, live fragments
languages  the visitor's language            views, urls
"""
