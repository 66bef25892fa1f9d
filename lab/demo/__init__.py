"""What `manage.py demo` plays: people who use the shop over HTTP, and a stage that shows their orders' sagas.
client  the API, as a client sees it      stage   headings, live sagas, and whether they ended as they must
flows   the flows of the README, one by one
"""
