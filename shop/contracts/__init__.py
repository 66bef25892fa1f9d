"""All that services may know of each other. Imports neither Django nor Django REST framework.

events            the events of the saga        accounts, catalog, inventory, messages   what a service offers
offers            which class implements what   orders, payments                         constants that others need
errors            the base of declared errors
"""
