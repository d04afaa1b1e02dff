/**
 * What happened between one look at the proxy's counters and the next, and in the last ten minutes.
 *
 * The API tells counters that only go up (`/traffic`); all rates and percentiles of this page are made here, of the
 * differences. Knows nothing of the page.
 */

import { add } from "./histogram.js";

const KEPT = 600;

/**
 * What one caller asked of one service.
 * @typedef {object} Flow
 * @property {string} caller
 * @property {string} service
 * @property {number} count exchanges
 * @property {number} failed those that were refused, broken off, or answered with 5xx
 * @property {Record<string, number>} outcomes by outcome: 2xx, 4xx, aborted
 * @property {Record<string, number>} causes failures of proxies, by cause
 * @property {number[]} buckets how long they took
 */

/**
 * @typedef {object} Reading
 * @property {number} atS when, in Unix time
 * @property {number} seconds since the one before
 * @property {Map<string, Flow>} flows those in which anything happened
 * @property {Map<string, number[]>} own what the proxy itself took, by service
 */

export class Readings {
  constructor() {
    /** @type {Reading[]} */
    this.history = [];
    /** @type {number[]} */
    this.boundsS = [];
    /** @type {number[]} */
    this.ownBoundsS = [];
    /** All that were ever seen, so that what is idle stays in the picture. @type {Map<string, Flow>} */
    this.known = new Map();
    this._last = null;
  }

  /**
   * Take a look.
   * @param {any} traffic as the API tells it
   */
  take(traffic) {
    const atS = traffic.at_unix_s;
    this.boundsS = traffic.bounds_s;
    this.ownBoundsS = traffic.own_bounds_s;
    const flat = traffic.rows.flatMap(({ caller, service, route, outcomes }) =>
      outcomes.map((outcome) => ({ caller, service, route, ...outcome })));
    const rows = new Map(flat.map((row) => [rowKey(row), row]));
    const own = new Map(traffic.own.map((row) => [row.service, row]));
    const last = this._last;
    this._last = { rows, own, atS };
    for (const row of traffic.rows) {
      const key = flowKey(row.caller, row.service);
      if (!this.known.has(key)) this.known.set(key, emptyFlow(row.caller, row.service));
    }
    if (last === null || isAnother(last.rows, rows) || atS <= last.atS) return;
    this.history.push({
      atS,
      seconds: atS - last.atS,
      flows: flowsBetween(last.rows, rows),
      own: ownBetween(last.own, own),
    });
    if (this.history.length > KEPT) this.history.shift();
  }

  /**
   * Add up the last seconds.
   * @param {number} seconds
   * @returns {{seconds: number, flows: Map<string, Flow>, own: Map<string, number[]>}}
   */
  last(seconds) {
    const newest = this.history.at(-1)?.atS ?? 0;
    const within = this.history.filter((reading) => reading.atS > newest - seconds);
    const flows = new Map([...this.known].map(([key, flow]) => [key, emptyFlow(flow.caller, flow.service)]));
    const own = new Map();
    for (const reading of within) {
      for (const [key, flow] of reading.flows) addFlow(flows.get(key), flow);
      for (const [service, counts] of reading.own) {
        if (!own.has(service)) own.set(service, []);
        add(own.get(service), counts);
      }
    }
    return { seconds: within.reduce((sum, reading) => sum + reading.seconds, 0), flows, own };
  }
}

/** @returns {Flow} */
export function emptyFlow(caller, service) {
  return { caller, service, count: 0, failed: 0, outcomes: {}, causes: {}, buckets: [] };
}

/** Add the second flow to the first. @param {Flow} into @param {Flow} flow */
export function addFlow(into, flow) {
  into.count += flow.count;
  into.failed += flow.failed;
  for (const [outcome, number] of Object.entries(flow.outcomes)) {
    into.outcomes[outcome] = (into.outcomes[outcome] ?? 0) + number;
  }
  for (const [cause, number] of Object.entries(flow.causes)) into.causes[cause] = (into.causes[cause] ?? 0) + number;
  add(into.buckets, flow.buckets);
}

/**
 * Add up some flows.
 * @param {Iterable<Flow>} flows
 * @param {{caller: string, service: string}} scope "" for all
 */
export function total(flows, scope) {
  const sum = emptyFlow(scope.caller, scope.service);
  for (const flow of flows) if (isWithin(flow, scope)) addFlow(sum, flow);
  return sum;
}

/** Whether something of a caller and a service belongs to what is looked at. */
export const isWithin = (one, scope) =>
  (scope.caller === "" || one.caller === scope.caller) && (scope.service === "" || one.service === scope.service);

/** @param {string} caller @param {string} service */
export const flowKey = (caller, service) => JSON.stringify([caller, service]);

const rowKey = (row) => JSON.stringify([row.caller, row.service, row.route, row.outcome, row.cause]);

/** Whether counters have begun anew: another program counts. */
function isAnother(before, now) {
  for (const [key, row] of before) if ((now.get(key)?.count ?? 0) < row.count) return true;
  return false;
}

function flowsBetween(before, now) {
  const flows = new Map();
  for (const [key, row] of now) {
    const was = before.get(key);
    const number = row.count - (was?.count ?? 0);
    if (number <= 0) continue;
    const of = flowKey(row.caller, row.service);
    if (!flows.has(of)) flows.set(of, emptyFlow(row.caller, row.service));
    const isFailed = row.cause !== "" || row.outcome === "5xx" || row.outcome === "aborted";
    addFlow(flows.get(of), {
      caller: row.caller,
      service: row.service,
      count: number,
      failed: isFailed ? number : 0,
      outcomes: { [row.outcome]: number },
      causes: row.cause === "" ? {} : { [row.cause]: number },
      buckets: row.buckets.map((one, i) => one - (was?.buckets[i] ?? 0)),
    });
  }
  return flows;
}

function ownBetween(before, now) {
  const found = new Map();
  for (const [service, row] of now) {
    const was = before.get(service);
    const counts = row.buckets.map((one, i) => one - (was?.buckets[i] ?? 0));
    if (counts.some((one) => one > 0)) found.set(service, counts);
  }
  return found;
}
