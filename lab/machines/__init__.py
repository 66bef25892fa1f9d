"""`manage.py chaos --machines`: three machines with everything on each, of which one at a time dies, or nearly.

A machine is a set of Linux namespaces: a network address, a host name, processes, and a disk of its own. All of it is
made in namespaces of the command itself, so it is gone when the command is, however it ends.

programs.py   what has to be there, from Debian's packages
machine.py    the network, and a machine: switched on and off, and what runs on it
software.py   what runs on each: etcd, Patroni, HAProxy, RabbitMQ, Redis, and the shop's processes
cluster.py    the three together, and whether they are whole
faults.py     what happens to one of them, and how it is undone
session.py    what the command does with its options
run.py        load and faults, in order
"""
