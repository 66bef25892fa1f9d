"""What spares the services' databases statements. The kernel needs none of it.

bulk        many rows in one statement                     clock       the server's time, without asking for it
postgresql  a connection is checked without a question
"""
