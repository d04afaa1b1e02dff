/** The search box: a caller or service is looked at; an exchange or trace id is asked for and told as a story. */

import { Refused, ask } from "./api.js";
import { byId, element, say, withCode } from "./dom.js";
import { FailureList, story, whoCalledWhom } from "./failures.js";

export class Search {
  /** @param {import("./scope.js").Scope} scope @param {() => {callers: string[], services: string[]}} names those that are known */
  constructor(scope, names) {
    this._scope = scope;
    this._names = names;
    this._asked = 0;
    byId("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.find(byId("wanted").value.trim());
    });
    byId("found-close").addEventListener("click", () => this._close());
  }

  /** Find something, and show it. @param {string} wanted */
  async find(wanted) {
    if (wanted === "") {
      this._close();
      return;
    }
    byId("wanted").value = wanted;
    const known = this._names();
    if (known.callers.includes(wanted) || known.services.includes(wanted)) {
      this._close();
      const isCaller = known.callers.includes(wanted);
      this._scope.set({ caller: isCaller ? wanted : "", service: isCaller ? "" : wanted });
      byId("charts").scrollIntoView({ block: "start" });
      return;
    }
    this._asked += 1;
    const turn = this._asked;
    this._show(`Looking for ${wanted}`, [element("p", { class: "faint" }, "…")]);
    let content;
    try {
      content = await this._byId(wanted);
    } catch (error) {
      content = [element("p", {}, `It could not be asked for: ${error.message}.`)];
    }
    if (turn === this._asked) this._show(`Found of ${wanted}`, content);
  }

  async _byId(id) {
    const hint = [];
    try {
      const found = await ask(`exchanges/${encodeURIComponent(id)}`);
      return found.failures.flatMap((one) => [element("h3", {}, headline(one)), story(one, (other) => this.find(other))]);
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 404) throw error;
      hint.push(error.message);
    }
    const { failures } = await ask("failures", { trace: id });
    if (failures.length > 0) {
      const node = element("div");
      new FailureList(node, (other) => this.find(other)).show(failures, "");
      return [element("p", {}, "What failed in this trace, newest first:"), node];
    }
    return [element("p", {}, "No caller or service has this name, and no failure that is kept has this exchange or trace id."),
      element("p", { class: "faint" }, ...withCode(hint.join(" ")))];
  }

  _show(title, content) {
    say(byId("found-title"), title);
    byId("found-content").replaceChildren(...content);
    const panel = byId("found");
    if (panel.hidden) {
      panel.hidden = false;
      panel.focus({ preventScroll: true });
      panel.scrollIntoView({ block: "nearest" });
    }
  }

  _close() {
    this._asked += 1;
    byId("found").hidden = true;
  }
}

const headline = (failure) => `${whoCalledWhom(failure)}: ${failure.title || failure.cause}`;
