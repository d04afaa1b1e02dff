"""Microbenchmarks: what one operation costs in process, without sockets (`make bench-micro`).

work         what is measured, as steps; and the time that it takes
counting     what it costs by count: bytecodes, blocks and bytes that are allocated
played_pair  both proxies with played connections between them
requests     one request through either proxy
unlike       the same with heads that are all different, by number of fields
sealing      sealing and opening, by cipher, compression and size
parsing      heads, frames, messages and configs, in and out
catalogue    all of them, by name
table        the figures as a table
__main__     the program
"""
