"""What `manage.py demo` plays: people who use the shop over HTTP, and a stage that shows what their orders go through.

client  the API, as a client sees it      stage   headings, live sagas, and whether it ended as it must
flows   the flows of the README, one by one
"""
