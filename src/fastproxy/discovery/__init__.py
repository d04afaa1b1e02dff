"""Where the endpoints of services and receivers are: one file per source, behind one small protocol.

A source says which endpoints there are, never who stands behind them: whoever controls discovery can cut
calls off, not read or answer them. What was known last is kept when a source falls silent.
Knows nothing of the config, of connections or of which endpoint is picked.
"""
