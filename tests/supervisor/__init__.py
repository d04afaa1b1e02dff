"""The process that owns a proxy, and what surrounds it."""
