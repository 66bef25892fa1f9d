"""What a customer has of it: from the HTTP request until the order is paid, shipped and told of.

`doors` are the systems with their web servers, `clients` the customers, `mail` the server their e-mails go to.
"""
