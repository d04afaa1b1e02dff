"""The composition root: from a config snapshot to a running proxy.

The only place that wires objects together: what the parts need comes through their constructors; clocks and
randomness enter here.

    sharing   what a worker has in common with the others, to hold rates and limits together
    parts     what both proxies are made of: wheel, parsers, metrics, listeners, ways to a next hop
    out_role  an out proxy of its parts, with one config
    in_role   an in proxy of its parts, with one config
    endpoints where both find endpoints, and register their own; center_client: their requests to the center
    links     the links of both roles, and their certificates; link_refusals: what is logged of those refused
    callers   the callers in a folder, while an in proxy runs
    compat    what both roles need for wire format v1
    running   a proxy in one process: started, given another config, drained
    worker    a process that carries exchanges; profiling: profiles of it, for those who ask
    center    the center of its parts, and running it
    once      one call through an out proxy that exists only for it
"""
