"""What operators use: checks, repairs and views of the whole shop.

timeline  everything that happened to an order     health       /livez, /readyz, /metrics
urls      their addresses                          watch        who may request them, and a port of their own
doctor    versions, servers, queues, keys, disk    breakers     the circuit breakers of a service
broker    users and permissions at RabbitMQ        gauges       metrics read from the databases
backups   when each server was last backed up      pending      what waits in a service's database
                                                   connections  how many PostgreSQL needs to allow
                                                   last_audit   the result of the last audit, as metrics
"""
