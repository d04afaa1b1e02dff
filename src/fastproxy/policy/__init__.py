"""What is decided about an exchange: may it pass, how fast, until when, where to, and once more?

Pure: time and randomness are arguments; no socket, loop, clock, log or config is known here.
A policy answers or raises a `ProxyError` that names a row of the error table; it never calls the next one.
All of them are compiled when the config loads, so that a request costs the same however many callers,
routes and endpoints there are.
"""
