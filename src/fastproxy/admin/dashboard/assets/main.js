/** The page: what it is made of, and how its parts hear of each other. */

import { Charts } from "./charts.js";
import { now, setClock } from "./clock.js";
import { byId, say } from "./dom.js";
import { FailureList } from "./failures.js";
import { findings } from "./findings.js";
import { Graph } from "./graph.js";
import { setUpPanels } from "./panels.js";
import { setUpPoll } from "./poll.js";
import { Readings, isWithin, total } from "./readings.js";
import { Scope } from "./scope.js";
import { Search } from "./search.js";
import { setUpSignIn } from "./sign_in.js";
import { announce, showFigures, showFindings } from "./state.js";
import { Tap } from "./tap.js";
import { setUpTheme } from "./theme.js";
import { age, clock } from "./words.js";

const RECENT_S = 10;
const MINUTE_S = 60;
const ALL = { caller: "", service: "" };

const readings = new Readings();
const scope = new Scope(() => draw());
const search = new Search(scope, () => namesOf());
const graph = new Graph(scope);
const charts = new Charts(scope);
const failures = new FailureList(byId("failure-list"), (id) => search.find(id));
const showPanels = setUpPanels();
const signIn = setUpSignIn(() => poll.again());
new Tap();
setUpTheme(() => charts.recolour());

/** What the API has told; null as long as it has told nothing. @type {Record<string, any> | null} */
let known = null;

const poll = setUpPoll(
  (answers) => {
    setClock(answers.traffic.at_unix_s);
    readings.take(answers.traffic);
    known = { ...answers };
    signIn.admitted();
    reach("live", "live");
    draw();
  },
  (sinceS, words) => {
    reach("lost", "no answer");
    say(byId("lost"), `▲ This proxy can't be reached since ${clock(sinceS)}, ${age(Date.now() / 1000 - sinceS)} ago: ${words}. `
      + (known === null ? "" : "What you see is from then."));
  },
  (error) => {
    known = null;
    signIn.refused(error);
  },
);

function reach(state, words) {
  const node = byId("connection");
  if (node.dataset.state !== state) announce(state === "lost" ? "This proxy can't be reached." : "This proxy answers.");
  node.dataset.state = state;
  say(node, words);
  byId("lost").hidden = state !== "lost";
  document.body.dataset.reach = state;
}

function draw() {
  if (known === null) return;
  const recent = readings.last(RECENT_S);
  const minute = readings.last(MINUTE_S);
  showProxy(known.proxy);
  showFindings(findings(known, minute.flows, minute.seconds, now()), total(minute.flows.values(), ALL), minute.seconds);
  showFigures(readings, recent, total(recent.flows.values(), ALL), known.proxy);
  graph.show(readings, recent, known.services.services);
  const { callers, services } = namesOf();
  scope.offer(callers, services);
  failures.show(
    known.failures.failures.filter((one) => isWithin(one, scope)),
    scope.isAll ? "None is kept." : `None of ${scope.words} is kept.`,
  );
  showPanels(known);
  charts.show(readings);
}

function showProxy(proxy) {
  say(byId("name"), proxy.name);
  say(byId("role"), `${proxy.role} proxy`);
  byId("role").hidden = false;
  say(byId("since"), `up ${age(now() - proxy.started_unix_s)}`);
  say(byId("version"), `fastproxy ${proxy.version}`);
  say(byId("config-file"), `config ${proxy.config_file}, in force since ${clock(proxy.loaded_unix_s)}`);
  document.title = `${proxy.name} – fastproxy`;
}

/** Callers and services that anything is known of. */
function namesOf() {
  const flows = [...readings.known.values()];
  const names = (part, more) => [...new Set([...flows.map((flow) => flow[part]), ...more])].filter(Boolean).sort();
  const kept = known?.failures.failures ?? [];
  return {
    callers: names("caller", kept.map((one) => one.caller)),
    services: names("service", [...kept.map((one) => one.service), ...(known?.services.services ?? []).map((one) => one.name)]),
  };
}
