"""Changes of an order before its parcel is handed over: fewer pieces, another address, or both.

`requests.py` is how one is asked for, one at a time; `steps.py` how it is applied to the order's lines and total once
delivery holds the parcel and payments has settled the difference.

What is being paid has one amount. So a change of an order that is not paid yet waits until it is, and ends with the
order if it never is.
"""
