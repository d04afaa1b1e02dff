"""The comparison with other proxies: the same load, the same service, one machine, one run.

`python -m fastproxy.bench.compare` is the command. `credentials` makes throw-away keys, `peers` says which
chains there are, `configs` how each proxy is configured, `processes` starts and stops them, `load` puts on
the load and counts CPU, `report` shows the figures.
Knows nothing of the rest of the package but its command line: what is measured is what users run.
All traffic stays on the loopback interface.
"""
