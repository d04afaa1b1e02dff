"""Write docs/errors.md, a paragraph for each row of the error table: `make docs`."""

from __future__ import annotations

from fastproxy.errors import TABLE

_HEAD = """# Errors

Every way in which an exchange can be refused or fail is a row of one table. The answer carries its status,
a `Proxy-Status` header (RFC 9209) with the error type, and an `application/problem+json` document (RFC 9457)
whose `hop` (`out` or `in`), `phase` and `cause` say where, when and why, and whose `exchange` is the id to
look for in both proxies' logs. The cause is also a label in the metrics (`fastproxy_refusals_total`) and a
field in the logs. `fastproxy why` tells the story of an exchange by its id, and
[troubleshooting.md](troubleshooting.md) has more on each cause.

What an in proxy refuses before it knows who calls, it answers in the clear and without particulars; the out
proxy then reports `response_unsealed`, and the in proxy's own log has the cause.

This page is made from `src/fastproxy/errors.py` by `make docs`.

| cause | status | phase | |
| --- | --- | --- | --- |
"""


def page() -> str:
    """Return the whole page."""
    rows = "".join(
        f"| [`{row.label}`](#{row.label}) | {row.status} | {row.phase} | {row.title} |\n"
        for row in TABLE.values()
    )
    paragraphs = "".join(
        f"\n## {row.label}\n\n{row.title} ({row.status}, `{row.proxy_error}`, usually in phase "
        f"*{row.phase}*).\n{row.advice}\n"
        f"[Usual reasons, and what to do](troubleshooting.md#{row.label}).\n"
        for row in TABLE.values()
    )
    return _HEAD + rows + paragraphs


if __name__ == "__main__":
    print(page(), end="")
