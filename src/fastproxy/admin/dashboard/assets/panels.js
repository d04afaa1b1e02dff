/** The tables: services and their endpoints, limits, links, identities, workers. */

import { now } from "./clock.js";
import { byId, element, keep, mark, say } from "./dom.js";
import { makeTable } from "./table.js";
import { age, bytes, clock, count, duration, rate, share } from "./words.js";

const SOON_S = 14 * 86_400;
const NEARLY_FULL = 0.8;
const MOST_LIMITS = 10;
const since = (unixS) => (unixS ? age(now() - unixS) : "–");

const size = (value) => (value === null ? "–" : bytes(value));

const STATES = { ok: "● ok", failing: "▲ failing", unknown: "○ not connected" };

function services() {
  const table = makeTable("Endpoints of services", [
    { head: "Service", kind: "name", cell: (row) => row.service },
    { head: "Endpoint", kind: "id", cell: (row) => row.address },
    { head: "State", cell: (row) => STATES[row.state] ?? row.state, tone: (row) => (row.state === "failing" ? "bad" : "") },
    { head: "In flight", kind: "number", cell: (row) => count(row.in_flight) },
    { head: "Open", kind: "number", cell: (row) => count(row.open), title: () => "connections or links" },
    { head: "Idle", kind: "number", cell: (row) => count(row.idle) },
    { head: "Way", cell: (row) => row.transport },
    { head: "Seen", kind: "number", cell: (row) => row.seen, title: () => "when discovery last confirmed it" },
  ], (row) => JSON.stringify([row.service, row.address]), "No service is configured.");
  const none = { address: "none known", state: "failing", open: 0, idle: 0, in_flight: 0 };
  return {
    node: table.node,
    show(answer) {
      const rows = answer.services.flatMap((one) => (one.endpoints.length > 0 ? one.endpoints : [none]).map((endpoint) => ({
        ...endpoint,
        service: one.name,
        transport: one.transport,
        seen: one.discovery_age_s === null ? "–" : age(one.discovery_age_s),
      })));
      table.show(rows, answer.truncated);
    },
  };
}

function limits() {
  const list = element("ul", { class: "limits" });
  const words = element("p", { class: "faint" });
  return {
    node: element("div", {}, list, words),
    show(answer) {
      const rows = [
        ...answer.rates.map((one) => ({
          name: `${one.caller} → ${one.service} ${one.route}`,
          used: one.used,
          isRefusing: one.refused > 0,
          text: `${share(Math.min(1, one.used))} of ${rate(one.per_s)}, burst ${count(one.burst)}`
            + (one.refused > 0 ? ` · ${count(one.refused)} refused` : ""),
        })),
        ...answer.in_use.filter((one) => one.limit > 0).map((one) => ({
          name: one.name.replaceAll("_", " "),
          used: one.used / one.limit,
          isRefusing: false,
          text: `${count(one.used)} of ${count(one.limit)}`,
        })),
      ].filter((row) => row.used > 0 || row.isRefusing).sort((one, other) => other.used - one.used);
      const shown = rows.slice(0, MOST_LIMITS);
      say(words, rows.length === 0 ? "None is in use." : rows.length > shown.length ? `${rows.length - shown.length} more are in use.` : "");
      words.hidden = words.textContent === "";
      keep(list, shown, (row) => row.name, () => limit());
    },
  };
}

function limit() {
  const name = element("span", { class: "limit-name" });
  const text = element("span", { class: "limit-text" });
  const bar = element("meter", { min: "0", max: "1" });
  return {
    node: element("li", {}, name, text, bar),
    show(row) {
      say(name, row.name);
      say(text, row.used >= NEARLY_FULL ? `◆ ${row.text}` : row.text);
      bar.value = Math.min(1, row.used);
      mark(bar, "aria-label", `${row.name}: ${row.text}`);
      mark(bar, "data-tone", row.used >= NEARLY_FULL ? "soon" : "");
    },
  };
}

function links() {
  const table = makeTable("Links", [
    { head: "Peer", kind: "id", cell: (row) => row.peer },
    { head: "Caller", kind: "name", cell: (row) => row.caller },
    { head: "Receiver", kind: "name", cell: (row) => row.receiver },
    { head: "Age", kind: "number", cell: (row) => since(row.opened_unix_s), title: (row) => clock(row.opened_unix_s) },
    { head: "Streams", kind: "number", cell: (row) => count(row.streams), title: (row) => `${count(row.streams_open)} open` },
    { head: "Open", kind: "number", cell: (row) => count(row.streams_open) },
    { head: "Round trip", kind: "number", cell: (row) => (row.rtt_s ? duration(row.rtt_s) : "–") },
    { head: "Sent", kind: "number", cell: (row) => size(row.sent_bytes) },
    { head: "Received", kind: "number", cell: (row) => size(row.received_bytes) },
    { head: "Sealed by", cell: (row) => row.security },
    { head: "State", cell: (row) => (row.is_leaving ? "○ leaving" : "● open") },
    { head: "Worker", kind: "number", cell: (row) => String(row.worker) },
  ], (row) => JSON.stringify([row.direction, row.worker, row.peer, row.caller, row.opened_unix_s]), "No link is open.");
  return { node: table.node, show: (answer) => table.show(answer.links, answer.truncated) };
}

function identities() {
  const ends = (row) => (row.not_after_unix_s ? row.not_after_unix_s - now() : Infinity);
  const table = makeTable("Identities", [
    { head: "Name", kind: "name", cell: (row) => row.name },
    { head: "Kind", cell: (row) => (row.is_own ? `own, ${row.kind}` : row.kind) },
    { head: "Key", kind: "id", cell: (row) => row.key_id },
    { head: "Last used", kind: "number", cell: (row) => (row.last_used_unix_s ? `${since(row.last_used_unix_s)} ago` : "never") },
    { head: "Uses", kind: "number", cell: (row) => count(row.uses) },
    {
      head: "Ends",
      kind: "number",
      cell: (row) => (ends(row) === Infinity ? "–" : ends(row) <= 0 ? "▲ has ended" : `${ends(row) < SOON_S ? "◆ " : ""}in ${age(ends(row))}`),
      tone: (row) => (ends(row) <= 0 ? "bad" : ends(row) < SOON_S ? "soon" : ""),
      title: (row) => (row.not_after_unix_s ? clock(row.not_after_unix_s) : "it has no date"),
    },
  ], (row) => JSON.stringify([row.kind, row.is_own, row.name, row.key_id]), "No identity is configured.");
  return { node: table.node, show: (answer) => table.show(answer.identities, answer.truncated) };
}

function workers() {
  const table = makeTable("Workers", [
    { head: "Worker", kind: "name", cell: (row) => String(row.number) },
    { head: "State", cell: (row) => (row.state === "ready" ? "● ready" : `◆ ${row.state}`), tone: (row) => (row.state === "ready" ? "" : "soon") },
    { head: "In flight", kind: "number", cell: (row) => count(row.in_flight) },
    { head: "Connections", kind: "number", cell: (row) => count(row.connections) },
    { head: "Links", kind: "number", cell: (row) => count(row.links) },
    { head: "Loop lag", kind: "number", cell: (row) => duration(row.loop_lag_s), tone: (row) => (row.loop_lag_s > 0.25 ? "soon" : "") },
    { head: "Memory", kind: "number", cell: (row) => bytes(row.resident_bytes) },
    { head: "Process", kind: "number", cell: (row) => String(row.pid) },
  ], (row) => String(row.number), "No worker runs.");
  return { node: table.node, show: (answer) => table.show(answer.workers) };
}

/** Set up all panels. @returns {(known: Record<string, any>) => void} shows what the API has told */
export function setUpPanels() {
  const made = [
    ["service-list", "services", services()],
    ["limit-list", "limits", limits()],
    ["link-list", "links", links()],
    ["identity-list", "identities", identities()],
    ["worker-list", "proxy", workers()],
  ];
  for (const [id, , panel] of made) byId(id).append(panel.node);
  return (known) => {
    for (const [, part, panel] of made) panel.show(known[part]);
  };
}
