"""Sockets and HTTP: parsing and serialising, the caller's edge, the service's edge, pools, timers.

Builds on model and errors only; knows nothing of config, policy, telemetry or which proxy it serves.
"""
