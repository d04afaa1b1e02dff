/**
 * What needs somebody's eye now, in words; nothing when all is well.
 *
 * Knows nothing of the page: facts in, sentences out, the worst first.
 */

import { whoCalledWhom } from "./failures.js";
import { age, clock, count, duration, lastSeconds, share, some } from "./words.js";

const RECENT_S = 60;
const FULL = 0.8;
const KEY_ENDS_SOON_S = 14 * 86_400;
const LATE_LOOP_S = 0.25;
/** Calls that hardly matter: a caller that hangs up now and then is no fault. */
const FEW = 0.01;

/** key: stays the same while the numbers in the text change. @typedef {{tone: "bad" | "soon", key: string, text: string, href: string}} Finding */

/**
 * @param {Record<string, any>} known what the API has told
 * @param {Map<string, import("./readings.js").Flow>} flows of the last seconds
 * @param {number} seconds how many those are
 * @param {number} nowS
 * @returns {Finding[]}
 */
export function findings(known, flows, seconds, nowS) {
  return [
    ...ofProxy(known.proxy),
    ...ofFlows(flows, seconds, known.failures.failures),
    ...ofFailures(known.failures.failures, flows, nowS),
    ...ofServices(known.services.services),
    ...ofIdentities(known.identities.identities, nowS),
    ...ofLimits(known.limits),
  ].sort((one, other) => Number(one.tone !== "bad") - Number(other.tone !== "bad"));
}

function* ofProxy(proxy) {
  if (!proxy.is_ready) yield bad("not ready", `This proxy should get no traffic: ${proxy.not_ready}.`, "#workers");
  for (const worker of proxy.workers) {
    if (worker.loop_lag_s > LATE_LOOP_S) {
      yield soon(`loop ${worker.number}`, `The event loop of worker ${worker.number} is ${duration(worker.loop_lag_s)} late.`, "#workers");
    }
  }
}

function* ofFlows(flows, seconds, failures) {
  for (const flow of flows.values()) {
    if (flow.failed === 0) continue;
    const [cause] = Object.entries(flow.causes).sort((one, other) => other[1] - one[1])[0] ?? [""];
    const part = flow.failed / flow.count;
    if (part < FEW) continue;
    yield bad(
      `flow ${flow.caller} ${flow.service}`,
      `${flow.caller} → ${flow.service}: ${share(part)} of ${some(flow.count, "call")} failed in ${lastSeconds(seconds)}`
      + (cause ? `, most by ${cause}${inWords(cause, failures)}.` : ": the service answers with 5xx."),
      "#failures",
    );
  }
}

function inWords(cause, failures) {
  const known = failures.find((one) => one.cause === cause);
  return known?.title ? `: ${known.title}` : "";
}

/** Those that no flow shows: links that don't come about, requests that never became a call of anybody. */
function* ofFailures(failures, flows, nowS) {
  const shown = new Set([...flows.values()].filter((flow) => flow.failed > 0).flatMap((flow) => Object.keys(flow.causes)));
  const groups = new Map();
  for (const one of failures) {
    if (nowS - one.at_unix_s > RECENT_S || shown.has(one.cause) || one.is_enforced === false) continue;
    groups.set(one.cause, [...(groups.get(one.cause) ?? []), one]);
  }
  for (const [cause, found] of groups) {
    const [last] = found;
    yield bad(`cause ${cause}`, `${whoCalledWhom(last)}: ${last.title || cause} (${cause}), `
      + `${found.length > 1 ? `${count(found.length)} times, the last ` : ""}${age(nowS - last.at_unix_s)} ago.`, "#failures");
  }
}

function* ofServices(services) {
  for (const service of services) {
    const failing = service.endpoints.filter((endpoint) => endpoint.state === "failing");
    if (service.endpoints.length === 0) yield bad(`none ${service.name}`, `No endpoint is known of ${service.name}.`, "#services");
    else if (failing.length > 0) {
      yield bad(`failing ${service.name}`, `${failing.length} of ${some(service.endpoints.length, "endpoint")} of ${service.name} `
        + `${failing.length === 1 ? "is" : "are"} failing: ${failing.slice(0, 3).map((one) => one.address).join(", ")}.`, "#services");
    }
  }
}

function* ofIdentities(identities, nowS) {
  const lasts = (one) => !one.not_after_unix_s || one.not_after_unix_s > nowS;
  const hasKey = new Set(identities.filter(lasts).map((one) => JSON.stringify([one.kind, one.name])));
  for (const identity of identities) {
    if (!identity.not_after_unix_s) continue;
    // One that has been changed for another may end.
    if (!lasts(identity) && hasKey.has(JSON.stringify([identity.kind, identity.name]))) continue;
    const left = identity.not_after_unix_s - nowS;
    const name = identity.is_own ? `This proxy's own key for ${identity.name}` : `The key of ${identity.name}`;
    const key = `key ${identity.kind} ${identity.name} ${identity.key_id}`;
    if (left <= 0) yield bad(key, `${name} has ended, ${clock(identity.not_after_unix_s)}.`, "#identities");
    else if (left < KEY_ENDS_SOON_S) yield soon(key, `${name} ends in ${age(left)}.`, "#identities");
  }
}

function* ofLimits(limits) {
  for (const one of limits.in_use) {
    if (one.limit > 0 && one.used >= one.limit * FULL) {
      yield soon(`limit ${one.name}`, `${one.name.replaceAll("_", " ")}: ${count(one.used)} of ${count(one.limit)} are in use.`, "#limits");
    }
  }
  for (const one of limits.rates) {
    if (one.used >= FULL) yield soon(`rate ${one.caller} ${one.service} ${one.route}`, `${one.caller} uses ${share(Math.min(1, one.used))} of its rate on ${one.service} ${one.route}.`, "#limits");
  }
}

const bad = (key, text, href) => ({ tone: "bad", key, text, href });
const soon = (key, text, href) => ({ tone: "soon", key, text, href });
