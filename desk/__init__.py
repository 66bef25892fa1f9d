"""What the admins of all services are built on.

admin   lists to search by number and by customer              stale   refuses forms that are outdated
people  customers and products, as other services know them    around  what the services know about one order
words   reasons and errors in the reader's language            sheets  tables as CSV, in and out
cells   keeps spreadsheets from running cells as formulas
"""
