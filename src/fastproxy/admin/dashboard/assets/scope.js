/** What the charts and failures are about: all, a caller, a service, or what one asks of the other. */

import { byId, element, keep, say } from "./dom.js";

export class Scope {
  /** @param {() => void} changed */
  constructor(changed) {
    this.caller = "";
    this.service = "";
    this._changed = changed;
    for (const part of ["caller", "service"]) {
      byId(`scope-${part}`).addEventListener("change", (event) => this.set({ [part]: event.target.value }));
    }
    byId("scope-all").addEventListener("click", () => this.set({ caller: "", service: "" }));
  }

  /** Look at something else. @param {{caller?: string, service?: string}} parts those that change */
  set(parts) {
    this.caller = parts.caller ?? this.caller;
    this.service = parts.service ?? this.service;
    this._changed();
  }

  /** Look at this, or at all again if it is what is looked at. */
  toggle(caller, service) {
    const isIt = this.caller === caller && this.service === service;
    this.set(isIt ? { caller: "", service: "" } : { caller, service });
  }

  get isAll() {
    return this.caller === "" && this.service === "";
  }

  /** In words. */
  get words() {
    if (this.isAll) return "all callers and services";
    if (this.service === "") return `what ${this.caller} calls`;
    if (this.caller === "") return `calls of ${this.service}`;
    return `${this.caller} → ${this.service}`;
  }

  /** Offer these names. @param {string[]} callers @param {string[]} services */
  offer(callers, services) {
    for (const [part, names] of [["caller", callers], ["service", services]]) {
      const field = byId(`scope-${part}`);
      const chosen = this[part];
      const offered = [...new Set(chosen === "" ? names : [...names, chosen])].sort();
      keep(field, ["", ...offered], (name) => name, (name) => {
        const node = element("option", { value: name }, name === "" ? "all" : name);
        return { node, show: () => {} };
      });
      if (field.value !== chosen) field.value = chosen;
    }
    byId("scope-all").hidden = this.isAll;
    say(byId("failures-scope"), this.isAll ? "" : this.words);
    keep(byId("names"), [...new Set([...callers, ...services])].sort(), (name) => name, (name) => {
      return { node: element("option", { value: name }), show: () => {} };
    });
  }
}
