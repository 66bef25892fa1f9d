"""What the admin of every service begins with.

admin   lists that are found by number and by customer     stale   forms that were opened before somebody else's change
people  customers and products, as other services know them    around  what the services keep of one order
words   statuses and reasons in the reader's language            sheets  tables as CSV, in and out
"""
