"""Metrics, traces, logs.

metrics    counters and histograms, and how Prometheus scrapes them    logs        lines that name trace and orders
tracing    the trace context of events, spans per event                processes   starts all of it in a worker
sdk        starts OpenTelemetry where spans are exported
"""
