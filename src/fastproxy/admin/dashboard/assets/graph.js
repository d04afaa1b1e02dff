/**
 * Who calls whom: callers at the left, services at the right, a line for each pair.
 *
 * Callers stand in the order of their names, services by who calls them, and each line begins in a row of its own,
 * with its numbers. So the picture holds still while the numbers change, and they stand in columns that can be
 * compared, however many there are: what layouts by forces, which move and label lines in their middle, can't do.
 * The table has the same, and every pair.
 */

import { byId, drawn, element, keep, mark, say } from "./dom.js";
import { percentile } from "./histogram.js";
import { flowKey, isWithin } from "./readings.js";
import { makeTable } from "./table.js";
import { duration, rate, share } from "./words.js";

const MOST = 40;
const CURVE = 0.5;

/** @typedef {{key: string, caller: string, service: string, perS: number, failing: number, p50: number | null,
 *   p99: number | null, count: number}} Edge */

export class Graph {
  /** @param {import("./scope.js").Scope} scope */
  constructor(scope) {
    this._scope = scope;
    this._callers = element("ul", { class: "callers", "aria-label": "Callers, and what they call" });
    this._services = element("ul", { class: "services", "aria-label": "Services" });
    this._lines = drawn("svg", { class: "lines", "aria-hidden": "true" });
    this._paths = new Map();
    this._edges = [];
    this._pointed = "";
    const heads = ["calls", "failing", "p50", "p99"].map((head) => element("span", {}, head));
    const top = element("div", { class: "edge-heads", "aria-hidden": "true" }, ...heads);
    this._map = element("div", { class: "map" }, element("div", {}, top, this._callers), this._lines, this._services);
    this._words = element("p", { class: "faint" });
    byId("graph").append(this._map, this._words);
    this._table = makeTable("Who calls whom, of the last 10 seconds", [
      { head: "Caller", kind: "name", cell: (edge) => edge.caller },
      { head: "Service", kind: "name", cell: (edge) => edge.service },
      { head: "Calls", kind: "number", cell: (edge) => rate(edge.perS) },
      { head: "Failing", kind: "number", cell: (edge) => failing(edge), tone: toneOf },
      { head: "p50", kind: "number", cell: (edge) => duration(edge.p50) },
      { head: "p99", kind: "number", cell: (edge) => duration(edge.p99) },
    ], (edge) => edge.key, "Nobody has called yet.");
    byId("graph-table").append(this._table.node);
    for (const [id, other] of [["as-graph", "as-table"], ["as-table", "as-graph"]]) {
      byId(id).addEventListener("click", () => this._showAs(id, other));
    }
    new ResizeObserver(() => this._draw()).observe(this._map);
  }

  /**
   * @param {import("./readings.js").Readings} readings
   * @param {{seconds: number, flows: Map<string, import("./readings.js").Flow>}} recent
   * @param {any[]} services as the API tells them
   */
  show(readings, recent, services) {
    const edges = edgesOf(readings, recent);
    this._table.show(edges);
    this._edges = mostBusy(edges);
    const callers = groupsOf(this._edges, "caller");
    const called = inOrderOf(callers, groupsOf(this._edges, "service"));
    const known = new Map(services.map((service) => [service.name, service]));
    this._known = known;
    keep(this._callers, callers, (group) => group.name, () => this._caller());
    keep(this._services, called, (group) => group.name, () => this._service());
    const left = edges.length - this._edges.length;
    say(this._words, edges.length === 0 ? "Nobody has called since this proxy started."
      : left > 0 ? `The ${MOST} busiest; ${left} more are in the table.` : "");
    this._map.hidden = edges.length === 0;
    this._draw();
  }

  _showAs(id, other) {
    mark(byId(id), "aria-pressed", "true");
    mark(byId(other), "aria-pressed", "false");
    byId("graph").hidden = id !== "as-graph";
    byId("graph-table").hidden = id === "as-graph";
  }

  _caller() {
    const name = element("button", { class: "node-name" });
    const perS = element("span", { class: "node-rate" });
    const edges = element("ul");
    const node = element("li", { class: "node" }, element("div", { class: "node-head" }, name, perS), edges);
    let shown = "";
    name.addEventListener("click", () => this._scope.toggle(shown, ""));
    return {
      node,
      show: (group) => {
        shown = group.name;
        say(name, group.name);
        say(perS, rate(group.perS));
        mark(name, "aria-pressed", String(this._isChosen(group.name, "")));
        keep(edges, group.edges, (edge) => edge.key, () => this._edge());
      },
    };
  }

  _edge() {
    const cells = Array.from({ length: 4 }, () => element("span"));
    const target = element("span", { class: "edge-target" });
    const button = element("button", { class: "edge" }, target, ...cells);
    const node = element("li", {}, button);
    let shown = { key: "", caller: "", service: "" };
    button.addEventListener("click", () => this._scope.toggle(shown.caller, shown.service));
    for (const [event, isOn] of [["pointerenter", true], ["pointerleave", false], ["focus", true], ["blur", false]]) {
      button.addEventListener(event, () => this._point(isOn ? shown.key : ""));
    }
    return {
      node,
      show: (edge) => {
        shown = edge;
        say(target, `→ ${edge.service}`);
        [rate(edge.perS), failing(edge), duration(edge.p50), duration(edge.p99)].forEach((text, i) => say(cells[i], text));
        mark(cells[1], "data-tone", toneOf(edge));
        mark(button, "aria-pressed", String(this._isChosen(edge.caller, edge.service)));
        mark(button, "data-idle", String(edge.perS === 0));
        mark(button, "aria-label", `${edge.caller} calls ${edge.service}: ${rate(edge.perS)}, ${failing(edge)} failing, `
          + `p50 ${duration(edge.p50)}, p99 ${duration(edge.p99)}`);
        mark(button, "title", `${edge.caller} → ${edge.service}`);
        edge.button = button;
      },
    };
  }

  _service() {
    const name = element("button", { class: "node-name" });
    const perS = element("span", { class: "node-rate" });
    const ends = element("p", { class: "node-ends" });
    const node = element("li", { class: "node" }, element("div", { class: "node-head" }, name, perS), ends);
    let shown = "";
    name.addEventListener("click", () => this._scope.toggle("", shown));
    return {
      node,
      show: (group) => {
        shown = group.name;
        say(name, group.name);
        say(perS, rate(group.perS));
        const words = endpointWords(this._known?.get(group.name));
        say(ends, words.text);
        mark(ends, "data-tone", words.tone);
        mark(name, "aria-pressed", String(this._isChosen("", group.name)));
        for (const edge of group.edges) edge.target = node;
      },
    };
  }

  _isChosen(caller, service) {
    return this._scope.caller === caller && this._scope.service === service;
  }

  /** Have one line stand out. */
  _point(key) {
    this._pointed = key;
    this._draw();
  }

  /** Draw the lines to where rows and boxes have come to stand. */
  _draw() {
    const frame = this._map.getBoundingClientRect();
    if (frame.width === 0) return;
    const places = new Map();
    for (const edge of this._edges) places.set(edge.target, (places.get(edge.target) ?? 0) + 1);
    const used = new Map();
    const drawnNow = new Set();
    for (const edge of this._edges) {
      const from = edge.button.getBoundingClientRect();
      const to = edge.target.getBoundingClientRect();
      const place = (used.get(edge.target) ?? 0) + 1;
      used.set(edge.target, place);
      const x1 = from.right - frame.left + 2;
      const y1 = from.top - frame.top + from.height / 2;
      const x2 = to.left - frame.left - 2;
      const y2 = to.top - frame.top + (to.height * place) / (places.get(edge.target) + 1);
      const bend = (x2 - x1) * CURVE;
      const path = this._path(edge.key);
      const at = (value) => value.toFixed(1);
      mark(path, "d", `M${at(x1)} ${at(y1)}C${at(x1 + bend)} ${at(y1)} ${at(x2 - bend)} ${at(y2)} ${at(x2)} ${at(y2)}`);
      mark(path, "stroke-width", (edge.perS === 0 ? 1 : 1.25 + Math.log10(1 + edge.perS)).toFixed(2));
      const isIn = this._pointed === "" ? isWithin(edge, this._scope) : this._pointed === edge.key;
      mark(path, "class", ["line", toneOf(edge), edge.perS === 0 ? "idle" : "", isIn ? "" : "aside"].join(" ").trim());
      drawnNow.add(edge.key);
    }
    for (const [key, path] of this._paths) {
      if (drawnNow.has(key)) continue;
      path.remove();
      this._paths.delete(key);
    }
  }

  _path(key) {
    let path = this._paths.get(key);
    if (!path) {
      path = drawn("path", { fill: "none" });
      this._paths.set(key, path);
      this._lines.append(path);
    }
    return path;
  }
}

/** @returns {Edge[]} in the order of their names */
function edgesOf(readings, recent) {
  const edges = [...recent.flows.values()].map((flow) => ({
    key: flowKey(flow.caller, flow.service),
    caller: flow.caller,
    service: flow.service,
    count: flow.count,
    perS: recent.seconds > 0 ? flow.count / recent.seconds : 0,
    failing: flow.count > 0 ? flow.failed / flow.count : 0,
    p50: percentile(readings.boundsS, flow.buckets, 0.5),
    p99: percentile(readings.boundsS, flow.buckets, 0.99),
  }));
  return edges.sort((one, other) => compare(one.caller, other.caller) || compare(one.service, other.service));
}

const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);

function mostBusy(edges) {
  if (edges.length <= MOST) return edges;
  const least = [...edges].sort((one, other) => other.perS - one.perS)[MOST - 1].perS;
  return edges.filter((edge) => edge.perS >= least).slice(0, MOST);
}

function groupsOf(edges, part) {
  const groups = new Map();
  for (const edge of edges) {
    if (!groups.has(edge[part])) groups.set(edge[part], { name: edge[part], perS: 0, edges: [] });
    const group = groups.get(edge[part]);
    group.perS += edge.perS;
    group.edges.push(edge);
  }
  return [...groups.values()].sort((one, other) => compare(one.name, other.name));
}

/** Put services where their callers stand on average, so that few lines cross; it hangs on no number that changes. */
function inOrderOf(callers, called) {
  const places = new Map(callers.map((group, i) => [group.name, i]));
  const place = (group) => group.edges.reduce((sum, edge) => sum + places.get(edge.caller), 0) / group.edges.length;
  return called.sort((one, other) => place(one) - place(other) || compare(one.name, other.name));
}

function failing(edge) {
  if (edge.count === 0) return "–";
  return edge.failing === 0 ? "0 %" : `▲ ${share(edge.failing)}`;
}

const toneOf = (edge) => (edge.failing > 0 ? "bad" : "");

function endpointWords(service) {
  if (!service) return { text: "", tone: "" };
  const all = service.endpoints.length;
  const bad = service.endpoints.filter((endpoint) => endpoint.state === "failing").length;
  if (all === 0) return { text: "▲ no endpoint known", tone: "bad" };
  if (bad > 0) return { text: `▲ ${bad} of ${all} endpoints failing`, tone: "bad" };
  return { text: all === 1 ? "1 endpoint" : `${all} endpoints`, tone: "" };
}
