"""What a running proxy says of the uses of keys, in its metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import inf
from typing import NamedTuple

import click
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from fastproxy.cli.admin_request import get
from fastproxy.cli.profile_target import Target
from fastproxy.telemetry.key_uses import OTHER, OWN, KeyUse, Row

_FIELDS = {
    "fastproxy_key_uses_total": "made",
    "fastproxy_key_uses_open": "open",
    "fastproxy_key_last_use_timestamp_seconds": "last_unix_s",
}


class KeyCounts(NamedTuple):
    """How a proxy used keys.

    where: its admin address. role: "out" or "in". since_unix_s: from when on that was counted.
    uses: by key and name.
    """

    where: str
    role: str
    since_unix_s: float
    uses: Mapping[Row, KeyUse]

    def of_key(self, key_id: str) -> list[KeyUse]:
        """Return all uses of a key (its id in hex)."""
        return [use for row, use in self.uses.items() if row.key_id == key_id]

    def last_use_unix_s(self, key_id: str) -> float:
        """Return when a key was used last, as far as this proxy can exclude it: at the latest.

        A key that isn't told apart may have been among the others; and one that was used before all this was
        counted, by nobody knows whom, may have been used until then.
        """
        known = self.of_key(key_id)
        others = known or self.of_key(OTHER)
        return max((self.since_unix_s, *(use.last_unix_s for use in others)))

    def last_use_of_own(self, caller: str, key_id: str) -> float:
        """Return when a caller used one of this proxy's own keys last; minus infinity when never."""
        use = self.uses.get(Row(OWN, caller, key_id))
        return -inf if use is None else use.last_unix_s


def key_counts(target: Target) -> KeyCounts:
    """Ask a proxy at its admin address.

    Raises:
        click.ClickException: it doesn't say.
    """
    return parse_counts(str(target.address), get(target, "/metrics").decode())


def parse_counts(where: str, text: str) -> KeyCounts:
    """Read metrics in OpenMetrics.

    Raises:
        click.ClickException: they are none of a proxy that counts the uses of keys.
    """
    found: dict[Row, dict[str, float]] = defaultdict(dict)
    since_unix_s, role = None, ""
    try:
        for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]
            for sample in family.samples:
                if sample.name == "fastproxy_start_timestamp_seconds":
                    since_unix_s, role = float(sample.value), sample.labels["role"]
                elif (field := _FIELDS.get(sample.name)) is not None:
                    labels = sample.labels
                    row = Row(labels["kind"], labels["name"], labels["key_id"])
                    found[row][field] = float(sample.value)
    except (ValueError, LookupError) as exc:
        raise click.ClickException(f"what {where} answers are no metrics of a proxy") from exc
    if since_unix_s is None:
        raise click.ClickException(
            f"{where} does not say since when it counts; is it a proxy of this version?"
        )
    uses = {
        row: KeyUse(row, int(values["made"]), int(values["open"]), values["last_unix_s"])
        for row, values in found.items()
    }
    return KeyCounts(where, role, since_unix_s, uses)
