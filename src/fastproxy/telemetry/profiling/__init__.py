"""Profiles of the process that this runs in: CPU, wall clock, stalls of the event loop, memory.

    ticks       signals at intervals of CPU time or wall clock; what they cost is bounded
    stacks      what was seen at which stack, kept small until somebody reads it
    cpu, wall, stalls, memory
                one kind of profile each: `start`, and `stop` that returns what was seen
    profile     a profile as all of them return it and both formats are made of it
    merge       one profile of those of several processes
    pprof       the format of `go tool pprof`, and reading it; profile_proto has its messages
    flamegraph  one page of HTML that needs nothing else
    render      a program of its own that makes either format

The process that is profiled only counts; names, lines and formats are found and made in another one, so that
it neither stands still for them nor keeps their libraries (6 MiB). Nothing here runs, and no timer is set,
while no profile is taken. Knows nothing of HTTP, of config, or of who may ask.
"""
