"""The link at run time: one sealed connection between two proxies that carries many exchanges at once.

    link       what both ends share: records and frames in and out, credit, liveness, the end
    stream     one exchange's content on a link: credit, turns, the body that comes
    caller     the end at the out proxy, which opens streams; call_stream: one of them, out of the ordinary
    receiver   the end at the in proxy, which takes them; received_stream: one of them, out of the ordinary
    pool       links to one endpoint of a receiver: made when needed, made again, replaced before they are old
    server     who gets in: handshakes, their limits, all links of an in proxy
    counters   what is counted

What leaves in one turn of the loop is collected, sealed once and written once; what arrives in one read is
opened and handed on. Knows nothing of policy, config, logs or of what the proxies do with an exchange.
"""
