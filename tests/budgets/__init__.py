"""Budgets that don't depend on time: what a request and a worker may cost, by count.

Each bound stands a little above what was measured (CPython 3.11), so that whatever makes the usual way longer
fails here, on any machine, however busy. A bound that is in the way of something worth its price is raised,
with the reason in the commit; one that has become generous is lowered.

    test_requests      bytecodes and allocations of a request, by transport and hop
    test_system_calls  what the kernel is asked for per request, by transport and hop
    test_workers       what a worker imports, and the memory that it holds
"""
