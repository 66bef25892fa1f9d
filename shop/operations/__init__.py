"""What operators use: checks, repairs and views of the whole shop.

audit     the invariants across all services       health       /livez, /readyz, /metrics
                                                   watch        who may request them, and a port of their own
backfill  redelivers what a step has lost          breakers     the circuit breakers of a service
timeline  everything that happened to an order     gauges       metrics read from the databases
saga_map  the saga as a table and a diagram        pending      what waits in a service's database
doctor    versions, servers, queues, keys, disk    connections  how many PostgreSQL needs to allow
broker    users and permissions at RabbitMQ        backups      when each database server was last backed up
urls
"""
