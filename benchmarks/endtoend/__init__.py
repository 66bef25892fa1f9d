"""End-to-end times for a customer: from the HTTP request until the order is paid, shipped and notified.

`doors` are the systems with their web servers, `clients` the customers, `mail` the server for their e-mails.
"""
