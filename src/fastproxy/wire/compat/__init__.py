"""Wire format v1, the Go original's, for as long as peers still speak it.

keys         sign keys and encrypt keys
message      the two protobuf messages, in their one canonical form
payload      compression, bounded on the way back
sealing      what a sender and a receiver do with whole messages
weaknesses   what this format can't protect, per caller, in words
"""
