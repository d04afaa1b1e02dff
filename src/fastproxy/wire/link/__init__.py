"""The link, byte by byte: how two proxies come to share keys, and what they then say to each other.

    errors      what ends a link
    terms       what both sides say of themselves in the handshake: versions, features, limits
    noise       the key agreement, Noise IKpsk2
    handshake   the two messages that establish a link
    hello       the two messages that do so inside TLS, where the identities are certificates
    records     sealing and opening what travels after that, in strict order
    frames      what records hold: the pieces of many exchanges, credit, liveness

Pure like the rest of `wire`. Which frame may come when is the connection's matter; `docs/wire.md` has it all.
"""
