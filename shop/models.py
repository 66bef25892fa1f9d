"""The shop itself has no tables: only a right of its own, for the permissions that Django keeps."""

from django.db import models


class Operations(models.Model):
    """What goes on inside: health, queues, circuit breakers. There are no rows of it."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = (("operate", "Can see what goes on inside"),)
