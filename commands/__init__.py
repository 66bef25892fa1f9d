"""The commands of `manage.py` that set up, watch and repair the shop.

arguments  types of arguments          packages  whether the packages of a checkout are there
samples    the sample users            staff     who runs a command, for the staff log
saga_map   the sagas as tables and     backfill  redelivers what a step has lost
           diagrams
"""
