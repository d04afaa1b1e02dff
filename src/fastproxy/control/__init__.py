"""What a supervisor and its workers have between them; neither's own.

channel   messages, questions and their answers, over a pair of sockets
messages  what is said
signals   which ones are for the supervisor alone
board     what each worker shows of itself in memory that all share
handover  a config snapshot, secrets and all, in memory that only this proxy's processes reach
ledger    what all workers count together, in memory that they share: rates, limits, replay windows
rooms, counts, locks   its parts: limits, counts by whose they are, what keeps workers out of each other's way
"""
