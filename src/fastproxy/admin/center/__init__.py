"""The center: a registry of where receivers and services are, with leases, tokens and long-poll watches.

It knows names and addresses, never keys: it can cut calls off, not redirect them to a stranger, since proxies
pin identities in their own configs.

    names         keys of the registry, and the one spelling of an address
    registry      who is registered, until when, at which version; pure
    access        who may register what
    tokens        the file that says which tokens may register which names
    waiters       who waits for a change
    api           the HTTP API over these; original_api: the one of the Go original
    handler       serves that API on the connections of a listener
    refusals      what the API says no with
    store         the registry on disk (SQLite); writer: keeps it there without holding the loop up
"""
