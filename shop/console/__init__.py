"""The pages on which one sees the shop at work: its state, the saga of an order, dead letters, fault switches.

state    what is up, asked now              ordering  placing a sample customer's order
saga     an order's saga, as rows           texts     what the pages say, in English and Korean
letters  the dead letters of all services   pages     who is looking, live fragments      views, urls
"""
