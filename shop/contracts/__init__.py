"""All that services may know of each other. Imports neither Django nor Django REST framework.

events            the events of the sagas       accounts, catalog, inventory, orders,    what a service offers
offers            which class implements what   messages, personal
errors            the base of declared errors   payments, reasons                        constants that others need
"""
