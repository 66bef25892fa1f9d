"""Traces, metrics, logs."""
