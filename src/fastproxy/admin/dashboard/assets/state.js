/** The top of the page: what needs an eye, or that all is well; and the figures of the last ten seconds. */

import { byId, element, keep, mark, say } from "./dom.js";
import { percentile } from "./histogram.js";
import { count, duration, lastSeconds, rate, share, some } from "./words.js";

const MOST_FINDINGS = 6;

/** @param {import("./findings.js").Finding[]} found @param {import("./readings.js").Flow} all calls of the last seconds @param {number} seconds how many those are */
export function showFindings(found, all, seconds) {
  const shown = found.slice(0, MOST_FINDINGS);
  const rest = found.length - shown.length;
  const items = shown.length === 0
    ? [{ tone: "well", key: "", text: wellWords(all, seconds), href: "" }]
    : [...shown, ...(rest > 0 ? [{ tone: "more", key: "", text: `${some(rest, "more thing")} below.`, href: "" }] : [])];
  keep(byId("findings"), items, (item) => `${item.tone} ${item.key}`, (item) => {
    const text = item.href ? element("a", { href: item.href }) : element("span");
    const sign = { bad: "▲", soon: "◆", well: "✓", more: "…" }[item.tone];
    const node = element("p", { class: `finding ${item.tone}` }, element("span", { class: "sign", "aria-hidden": "true" }, sign), text);
    return { node, show: (last) => say(text, last.text) };
  });
  // Not each number that changes: that there is something else to look at.
  const about = found.map((one) => one.key).join("\n");
  if (about !== announced) announce(found.length === 0 ? "All is well." : `${some(found.length, "thing")} to look at. ${found[0].text}`);
  announced = about;
}

let announced = "";

/** Have a screen reader say something. @param {string} words */
export function announce(words) {
  say(byId("announced"), words);
}

function wellWords(all, seconds) {
  const last = lastSeconds(seconds);
  if (all.count === 0) return `All is well. Nobody has called in ${last}.`;
  const failed = all.failed === 0 ? "none failed" : `${count(all.failed)} failed`;
  return `All is well. ${some(all.count, "call")} in ${last}, ${failed}.`;
}

/**
 * @param {import("./readings.js").Readings} readings
 * @param {{seconds: number, own: Map<string, number[]>}} recent
 * @param {import("./readings.js").Flow} all of the last ten seconds
 * @param {any} proxy
 */
export function showFigures(readings, recent, all, proxy) {
  const own = [];
  for (const counts of recent.own.values()) counts.forEach((one, i) => { own[i] = (own[i] ?? 0) + one; });
  const sum = (name) => proxy.workers.reduce((total, worker) => total + worker[name], 0);
  const has = recent.seconds > 0;
  const failing = all.count > 0 ? all.failed / all.count : 0;
  const figures = [
    ["Calls", has ? rate(all.count / recent.seconds) : "–"],
    ["Failing", all.count > 0 ? (failing > 0 ? `▲ ${share(failing)}` : "0 %") : "–", failing > 0 ? "bad" : ""],
    ["p50", duration(percentile(readings.boundsS, all.buckets, 0.5))],
    ["p99", duration(percentile(readings.boundsS, all.buckets, 0.99))],
    ["Own share p99", duration(percentile(readings.ownBoundsS, own, 0.99))],
    ["In flight", count(sum("in_flight"))],
    ["Connections", count(sum("connections"))],
  ];
  keep(byId("figures"), figures, ([name]) => name, ([name]) => {
    const value = element("dd");
    const node = element("div", {}, element("dt", {}, name), value);
    return { node, show: ([, text, tone]) => { say(value, text); mark(value, "data-tone", tone ?? ""); } };
  });
}
