"""`{{ letter.error|means }}`: what a dead letter's error means, in the reader's language; empty if unknown."""

from django.template import Library

from desk import words

register = Library()
register.filter("means", words.error)
