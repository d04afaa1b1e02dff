"""The comparison with other proxies: the same load, the same service, one machine, one run.

`python -m fastproxy.bench.compare` is the command, and says in which order things happen.

- What is asked: `scenario` says what a scenario is, `scenarios` holds them, one per file.
- Who is asked: `peers` lists the chains, `configs` and `own_configs` are how their proxies are configured,
  `credentials` makes throw-away keys, `tools` finds the programs of others.
- What runs: `processes` starts and stops programs, `standing` is a chain that runs.
- What is found: `load` puts on the load (`steady` is the program for a steady rate), `accounting` counts CPU
  and memory, `report` shows the figures.

Knows nothing of the rest of the package but its command line: what is measured is what users run.
All traffic stays on the loopback interface.
"""
