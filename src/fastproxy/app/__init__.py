"""The composition root: from a config snapshot to a running proxy.

The only place that wires objects together: what the parts need comes through their constructors; clocks and
randomness enter here.

    parts     what both proxies are made of: wheel, parsers, metrics, listeners, ways to a next hop
    out_role  an out proxy of its parts
    in_role   an in proxy of its parts
    running   starting a proxy, keeping it, and draining it
"""
