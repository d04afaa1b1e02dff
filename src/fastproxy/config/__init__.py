"""Config files: what can be set (`schema`), and from a file to a snapshot of it (`load`).

Rules: a file loads entirely or not at all, and all its problems are reported at once; a snapshot never
changes; no secret is shown. Must not know what is built from a config: policies, wire formats, proxies.
"""
