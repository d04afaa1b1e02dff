"""What travels between the proxies, byte by byte: identities, ciphers, envelope version 2, the link, v1.

Pure: bytes in, bytes out. Clocks and randomness are arguments. Nothing here knows a socket, a loop,
the environment, a log or the config; failures that a peer can cause are rows of the error table.

    identity     key pairs of callers and receivers
    ciphers      the AEADs, by HPKE id
    hpke         the authenticated key schedule (RFC 9180) that makes a session of two identities
    compressors  the compression of one record, bounded on the way back
    records      sealed records: the chunks that every message consists of
    envelope     the layout of message headers and of the heads that travel in the first record
    sender       sealing requests: one session of a sender process with one receiver
    receiver     opening requests: who calls, whether it was here before, whether it comes in time
    responses    sealing and opening responses, each bound to its request
    replay       the window of counters that a session has seen
    sessions     the bounded table of a receiver's sessions
    shared_sessions, shared_windows   the same for a receiver that is several processes
    link         the sealed, multiplexed connection: handshake, records, frames
    compat       wire format v1, for peers that still run the Go original

`docs/wire.md` describes the format for a second implementation.
"""
