"""fastproxy: a pair of service proxies; plain HTTP at both edges, sealed and authenticated between."""

__version__ = "0.1.0"
