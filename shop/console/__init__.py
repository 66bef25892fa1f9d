"""The pages on which one sees the shop at work: what is up and what waits, an order's saga, fault switches.

state  what is up, asked now         texts  what the pages say, in English and Korean
saga   an order's saga, as rows      pages  language, who is looking, live fragments      views, urls
"""
