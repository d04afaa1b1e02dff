"""The comparison with other proxies: the same load, the same service, one machine, one run.

`fastproxy bench` is the command; `plan` says what a run will do, `run` does it.

- What is asked: `scenario` says what a scenario is, `scenarios` holds them, `growth` fits how a cost grows.
- Who is asked: `peers` lists the chains, `configs` and `own_configs` are how their proxies are configured,
  `credentials` makes throw-away keys, `tools` finds the programs of others.
- What runs: `processes` starts and stops programs, `standing` is a chain that runs.
- What is found: `load` puts on the load (`steady` is the program for a steady rate), `accounting` counts CPU
  and memory, `record` holds every turn, `facts` those of the machine, `store` is the file of both.
- What is shown: `progress` while it runs; then `reports` writes Markdown (`markdown`), a page (`html_page`)
  and plots (`plots`), all from a record alone; `tables`, `words` and `glossary` are their parts.

Knows nothing of the rest of the package but its command line: what is measured is what users run.
All traffic stays on the loopback interface.
"""
