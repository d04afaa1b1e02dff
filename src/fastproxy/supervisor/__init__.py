"""The process that owns a proxy: its listening sockets, its workers, its admin address.

It carries no exchange itself: those are its workers', which come and go with reloads, upgrades and accidents,
while what they share (sockets, counters, the board) stays.

    supervisor  a proxy from its start to its end: what happens to it, in order
    reading     a config read in a process of its own (reader)
    crew        the workers of one config: made ready, kept up, drained
    process     one worker process, as seen from here
    listeners   the listening sockets, one for each worker
    inboxes     through which workers hand connections on to each other
    cores       how many workers there should be
    console     the admin address; profiling: profiles of all workers, for those who ask
    errands     programs that do one thing for the supervisor, and end

    door        the socket at which commands are given
    upgrade     another program takes over
    rehearsal   another program tries whether it could take over
    legacy      what that program is left

    surroundings  those outside who depend on the proxy, which are
    notify        the service manager, told how the proxy is
    activation    and what it hands over: listening sockets
    ready_file    the file that says that the proxy is ready
    companion     the command that runs with it
    signals       those that come before it can take them
"""
