"""Outward webhooks, by the Standard Webhooks specification: other people's programs are told what happens to orders.

events       which event of the saga is which public one       subscriptions    the rules, and who is told where
secrets      what messages are signed with, kept encrypted     sending          from what is due to the subscriber
transport    a POST to an address of somebody else's choosing  views            the API

What is to be told is written down in the transaction in which notifications hears it (`events.write_down`), and sent
later, outside any transaction, at least once and in no promised order.
"""
