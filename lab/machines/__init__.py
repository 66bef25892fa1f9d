"""`manage.py chaos --machines`: three machines with everything on each, of which one at a time fails, or nearly does.

A machine is a set of Linux namespaces: a network address, a host name, processes, and a disk of its own. They are
created in namespaces of the command itself, so they are gone when the command ends, however it ends.

programs.py   the programs needed, from Debian's packages
machine.py    the network, and a machine: switched on and off, and what runs on it
guard.py      ends what is of no use any more and does not notice
software.py   what runs on each: etcd, Patroni, HAProxy, RabbitMQ, Redis, and the shop's processes
cluster.py    the three together, and whether the cluster is whole
faults.py     what happens to one machine, and how it is undone
session.py    runs the command with its options
run.py        load and faults, in order
"""
