/**
 * The live tap: exchanges as they end, by a filter.
 *
 * The proxy drops what a slow reader doesn't take and says how much; this page keeps the last lines only, and puts
 * them in once per picture, so that it is none.
 */

import { Refused, Unreachable, listen } from "./api.js";
import { byId, element, say } from "./dom.js";
import { bytes, clock, count, duration, named } from "./words.js";

const KEPT = 200;
const FIELDS = [
  ["caller", "Caller", "any"],
  ["service", "Service", "any"],
  ["route", "Route", "any"],
  ["method", "Method", "any"],
  ["status", "Status", "5xx or 404"],
  ["trace", "Trace id", "any"],
  ["cause", "Cause", "rate_limited, * for any"],
];

export class Tap {
  constructor() {
    this._form = byId("tap-form");
    this._lines = byId("tap-lines");
    this._waiting = [];
    this._shown = 0;
    this._dropped = 0;
    this._running = null;
    this._isDrawing = false;
    for (const [name, label, hint] of FIELDS) {
      const id = `tap-${name}`;
      this._form.append(element("div", {}, element("label", { for: id }, label),
        element("input", { id, name, placeholder: hint, autocomplete: "off", spellcheck: "false" })));
    }
    this._button = element("button", { type: "submit", class: "main" }, "Start");
    const clear = element("button", { type: "button", class: "plain" }, "Clear");
    clear.addEventListener("click", () => {
      this._lines.replaceChildren();
      this._shown = this._dropped = 0;
      this._tell();
    });
    this._form.append(element("div", { class: "buttons" }, this._button, clear));
    this._form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this._running) this._running.abort();
      else this._run();
    });
  }

  async _run() {
    const running = this._running = new AbortController();
    const query = Object.fromEntries([...new FormData(this._form)].map(([name, value]) => [name, value.trim()]));
    this._shown = this._dropped = 0;
    say(this._button, "Stop");
    say(byId("tap-state"), "Starting …");
    let end = "Stopped";
    try {
      for await (const objects of listen("tap", query, running.signal, () => this._tell())) {
        for (const one of objects) this._take(one);
        this._schedule();
      }
      if (!running.signal.aborted) end = "The proxy has ended it";
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
      if (!running.signal.aborted) end = `It ended: ${error.message}`;
    } finally {
      this._running = null;
      say(this._button, "Start");
      say(byId("tap-state"), `${end}. ${this._counts()}`);
    }
  }

  _take(one) {
    if ("dropped" in one) {
      this._dropped += one.dropped;
      return;
    }
    this._shown += 1;
    this._waiting.push(one);
    if (this._waiting.length > KEPT) this._waiting.shift();
  }

  _schedule() {
    if (this._isDrawing) return;
    this._isDrawing = true;
    requestAnimationFrame(() => {
      this._isDrawing = false;
      this._lines.prepend(...this._waiting.splice(0).reverse().map(lineOf));
      while (this._lines.childElementCount > KEPT) this._lines.lastElementChild.remove();
      this._tell();
    });
  }

  _tell() {
    if (this._running) say(byId("tap-state"), `Running. ${this._counts()}`);
  }

  _counts() {
    const dropped = this._dropped > 0 ? ` ${count(this._dropped)} were dropped by the proxy, which does not wait for readers.` : "";
    return `${count(this._shown)} seen.${dropped}`;
  }
}

function lineOf(one) {
  const isBad = one.status >= 500 || one.cause;
  const status = one.status ? String(one.status) : "–";
  const line = element("summary", {},
    element("time", {}, clock(one.started_unix_s)),
    element("span", { class: "tap-who" }, `${one.caller || "?"} → ${one.service || "?"}`),
    element("span", { class: "tap-what" }, `${one.method ?? ""} ${one.path ?? ""}`),
    element("span", { class: "tap-status", "data-tone": isBad ? "bad" : "" }, isBad ? `▲ ${status}` : status),
    element("span", { class: "tap-cause" }, one.cause || ""),
    element("span", { class: "tap-time" }, typeof one.duration_s === "number" ? duration(one.duration_s) : ""));
  const details = element("details", {}, line);
  // Few lines are ever unfolded.
  details.addEventListener("toggle", () => details.append(wholeOf(one)), { once: true });
  return element("li", {}, details);
}

/** All that was told of an exchange. */
function wholeOf(one) {
  const facts = Object.entries(one)
    .filter(([, value]) => value !== "" && value !== null && typeof value !== "object")
    .map(([name, value]) => wordsOf(name, value));
  const phases = Object.entries(one.phases_s ?? {}).map(([phase, seconds]) => [`in ${phase}`, duration(Number(seconds))]);
  return element("div", { class: "story" }, listOf([...facts, ...phases]),
    ...headOf("Request", one.request), ...headOf("Answer", one.answer));
}

/** A message as the tap has seen it, field by field. */
function headOf(title, head) {
  if (!head) return [];
  const { content } = head;
  return [
    element("h3", {}, title),
    listOf(head.fields.map(([name, value]) => [String(name), String(value)])),
    head.is_cut ? element("p", { class: "faint" }, "There are more fields, or longer ones.") : null,
    content ? element("pre", {}, `${content.text ?? content.base64 ?? ""}${content.is_cut ? " …" : ""}`) : null,
  ];
}

const listOf = (pairs) => element("dl", { class: "facts" },
  ...pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));

function wordsOf(name, value) {
  if (name.startsWith("bytes") && typeof value === "number") return [name.replaceAll("_", " "), bytes(value)];
  return name === "status" ? [name, String(value)] : named(name, value);
}
