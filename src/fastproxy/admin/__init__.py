"""What operators ask a running proxy; on an address of its own, never on the one that takes traffic."""
