/** Failures and refusals, each told in words: who called whom, which hop refused in which phase and why, what to do. */

import { now } from "./clock.js";
import { element, keep, mark, say, withCode } from "./dom.js";
import { age, clock, duration, named } from "./words.js";

/** To whom a proxy passes requests on. */
const NEXT = { out: "the in proxy", in: "the service" };

const PHASES = {
  read: "while it read the request",
  identify: "while it found out who calls",
  open: "while it opened what was sealed",
  privilege: "when it looked for a privilege",
  route: "when it looked for the service",
  rate: "when it counted against the rate",
  deadline: "as the time was up",
  pick: "while it picked an endpoint",
  connect: "while it connected to NEXT",
  send: "while it sent the request on to NEXT",
  wait: "while it waited for the answer of NEXT",
  answer: "while the answer of NEXT was on its way",
  handshake: "during the handshake of a link",
};

/** @typedef {Record<string, any>} Failure as the API tells it */

/** Who called whom, in one line. @param {Failure} failure */
export function whoCalledWhom(failure) {
  if (failure.phase === "handshake") return failure.peer ? `a link from ${failure.peer}` : "a link";
  return `${failure.caller || "someone"} → ${failure.service || "a service that isn't known"}`;
}

/** Which hop did it, and when on the request's way. @param {Failure} failure */
export function whereItFailed(failure) {
  const isHere = failure.from !== "next hop";
  const role = failure.role ? ` (${failure.role} proxy)` : "";
  const here = `${failure.hop || "this proxy"}${role}`;
  const did = failure.phase === "handshake" ? "refused it"
    : failure.status >= 500 ? "gave it up" : failure.status >= 400 ? "refused it" : "ended it";
  const decider = isHere ? failure.role : failure.role === "out" ? "in" : "";
  const phase = (PHASES[failure.phase] ?? `in the phase ${failure.phase}`).replace("NEXT", NEXT[decider] ?? "its next hop");
  const after = failure.duration_s > 0 ? `, after ${duration(failure.duration_s)}` : "";
  if (failure.cause === "caller_gone") return `The caller hung up on ${here} ${phase}${after}.`;
  if (isHere) return `${here} ${did} ${phase}${after}.`;
  const there = decider === "in" ? "The in proxy" : "The next hop";
  const at = failure.endpoint ? ` at ${failure.endpoint}` : "";
  return `${there}${at} ${did} ${phase}; ${here} had its answer${after}. `
    + `${there}'s own page has the numbers that decided it, under the same exchange id.`;
}

/** The whole story, to be put anywhere. @param {Failure} failure @param {(id: string) => void} find */
export function story(failure, find) {
  const facts = [];
  const add = (name, value) => {
    if (value !== "" && value !== undefined && value !== null && value !== 0) facts.push([name, value]);
  };
  add("when", `${clock(failure.at_unix_s)}, ${age(now() - failure.at_unix_s)} ago`);
  add("request", [failure.method, failure.path].filter(Boolean).join(" "));
  add("route", failure.route);
  add("phase", failure.phase);
  add("endpoint", failure.endpoint);
  add("attempts", failure.attempts ? String(failure.attempts) : "");
  add("peer", failure.peer);
  for (const [name, value] of Object.entries(failure.numbers ?? {})) facts.push(named(name, value));
  add("exchange", failure.exchange && link(failure.exchange, find));
  add("trace", failure.trace_id && link(failure.trace_id, find));
  return element("div", { class: "story" },
    element("p", {}, whereItFailed(failure)),
    failure.detail ? element("p", { class: "detail" }, ...withCode(failure.detail)) : null,
    failure.is_enforced === false ? element("p", {}, "It passed: refusals are only reported (enforce: report).") : null,
    failure.advice ? element("p", { class: "advice" }, element("strong", {}, "What to do: "), ...withCode(failure.advice)) : null,
    element("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [
      element("dt", {}, name), element("dd", {}, value),
    ])));
}

function link(id, find) {
  const button = element("button", { type: "button", class: "id", title: "Find all that is known of it" }, id);
  button.addEventListener("click", () => find(id));
  return button;
}

export class FailureList {
  /** @param {HTMLElement} node @param {(id: string) => void} find */
  constructor(node, find) {
    this._find = find;
    this._list = element("ol", { class: "failures" });
    this._words = element("p", { class: "faint" });
    node.append(this._list, this._words);
  }

  /** @param {Failure[]} failures newest first @param {string} empty said when there are none */
  show(failures, empty) {
    const groups = alike(failures);
    keep(this._list, groups, (group) => group.key, () => this._group());
    say(this._words, groups.length === 0 ? empty : "");
    this._words.hidden = groups.length > 0;
  }

  _group() {
    const title = element("span", { class: "failure-title" });
    const number = element("span", { class: "failure-number" });
    const who = element("span", { class: "failure-who" });
    const cause = element("code");
    const when = element("time");
    const body = element("div");
    const details = element("details", {},
      element("summary", {}, title, number, element("span", { class: "failure-line" }, who, cause, when)), body);
    let shown = null;
    // Told once, when it is unfolded: who reads it would lose it to the next failure of its kind.
    details.addEventListener("toggle", () => {
      if (details.open) body.replaceChildren(story(shown.last, this._find), ...this._others(shown.all.slice(1, 8)));
    });
    return {
      node: element("li", {}, details),
      show: (group) => {
        shown = group;
        const last = group.last;
        say(title, last.title || last.cause);
        say(number, group.all.length > 1 ? `×${group.all.length}` : "");
        mark(number, "title", `${group.all.length} of them are kept`);
        say(who, whoCalledWhom(last));
        say(cause, last.cause);
        say(when, `${age(now() - last.at_unix_s)} ago`);
        mark(when, "title", clock(last.at_unix_s));
      },
    };
  }

  _others(others) {
    const known = others.filter((one) => one.exchange);
    if (known.length === 0) return [];
    const ids = known.map((one) => element("li", {}, link(one.exchange, this._find), ` ${clock(one.at_unix_s)}`));
    return [element("div", { class: "others" }, element("p", { class: "faint" }, "The ones before it"), element("ul", {}, ...ids))];
  }
}

/** Take failures of one kind together. @param {Failure[]} failures newest first */
export function alike(failures) {
  const groups = new Map();
  for (const one of failures) {
    const key = JSON.stringify([one.cause, one.caller, one.service, one.phase, one.endpoint, one.from, one.is_enforced]);
    if (!groups.has(key)) groups.set(key, { key, last: one, all: [] });
    groups.get(key).all.push(one);
  }
  return [...groups.values()];
}
