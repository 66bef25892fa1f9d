"""The shop itself has no tables, only a permission of its own, which Django stores."""

from django.db import models


class Operations(models.Model):
    """What goes on inside: health, queues, circuit breakers. It has no rows."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = (("operate", "Can see what goes on inside"),)
