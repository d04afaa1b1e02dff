/** Charts of the last ten minutes, of what is looked at: requests by outcome, latency, the proxy's own share. */

import uPlot from "./vendor/uplot/uplot.js";

import { now } from "./clock.js";
import { byId, drawn, element, keep, say } from "./dom.js";
import { percentile } from "./histogram.js";
import { total } from "./readings.js";
import { colour } from "./theme.js";
import { duration, rate } from "./words.js";

const HEIGHT = 190;
const SPAN_S = 600;

/** How lines are told apart: by form as well as by colour. */
const FORMS = {
  "2xx": ["--series-1", []],
  "3xx": ["--series-4", [2, 3]],
  "4xx": ["--series-2", [8, 4]],
  "5xx": ["--series-3", [3, 3]],
  aborted: ["--series-3", [10, 3, 2, 3]],
  p50: ["--series-1", []],
  p90: ["--series-4", [8, 4]],
  p99: ["--series-2", [3, 3]],
};
const OUTCOMES = ["2xx", "3xx", "4xx", "5xx", "aborted"];
const PARTS = { p50: 0.5, p90: 0.9, p99: 0.99 };

export class Charts {
  /** @param {import("./scope.js").Scope} scope */
  constructor(scope) {
    this._charts = [
      new Chart("Requests by outcome", "per second", OUTCOMES, rate, (readings, reading) => {
        const flow = total(reading.flows.values(), scope);
        return OUTCOMES.map((outcome) => (flow.outcomes[outcome] ?? 0) / reading.seconds);
      }),
      new Chart("Latency", "first byte in to last byte out", Object.keys(PARTS), duration, (readings, reading) => {
        const flow = total(reading.flows.values(), scope);
        return Object.values(PARTS).map((part) => percentile(readings.boundsS, flow.buckets, part));
      }),
      new Chart("This proxy's own share", "of that, without waiting for others", Object.keys(PARTS), duration,
        (readings, reading) => {
          const counts = ownOf(reading, scope);
          return Object.values(PARTS).map((part) => percentile(readings.ownBoundsS, counts, part));
        }),
    ];
    byId("chart-list").append(...this._charts.map((chart) => chart.node));
  }

  /** @param {import("./readings.js").Readings} readings */
  show(readings) {
    for (const chart of this._charts) chart.show(readings);
  }

  /** Begin anew with the colours that there are now. */
  recolour() {
    for (const chart of this._charts) chart.recolour();
  }
}

/** What the proxy took itself; it is told apart by service alone. */
function ownOf(reading, scope) {
  const sum = [];
  for (const [service, counts] of reading.own) {
    if (scope.service === "" || scope.service === service) counts.forEach((one, i) => { sum[i] = (sum[i] ?? 0) + one; });
  }
  return sum;
}

class Chart {
  /**
   * @param {string} title
   * @param {string} words what is measured
   * @param {string[]} names of the lines
   * @param {(value: number) => string} format
   * @param {(readings: any, reading: any) => (number | null)[]} valuesOf a value for each line
   */
  constructor(title, words, names, format, valuesOf) {
    this._names = names;
    this._format = format;
    this._valuesOf = valuesOf;
    this._plot = null;
    this._pointed = null;
    this._data = [[]];
    this._frame = element("div", { class: "plot", "aria-hidden": "true" });
    this._legend = element("ul", { class: "legend" });
    this.node = element("figure", {},
      element("figcaption", {}, element("h3", {}, title), element("span", { class: "faint" }, words)),
      this._frame, this._legend);
    new ResizeObserver(() => this._fit()).observe(this._frame);
  }

  /** @param {import("./readings.js").Readings} readings */
  show(readings) {
    const history = readings.history;
    const columns = [history.map((reading) => reading.atS), ...this._names.map(() => [])];
    for (const reading of history) {
      this._valuesOf(readings, reading).forEach((value, i) => columns[i + 1].push(value));
    }
    this._data = columns;
    if (this._plot === null) this._begin();
    this._plot?.setData(columns, false);
    const end = columns[0].at(-1) ?? now();
    const span = Math.min(SPAN_S, Math.max(60, end - (columns[0][0] ?? end)));
    this._plot?.setScale("x", { min: end - span, max: end });
    this._tell();
  }

  recolour() {
    this._plot?.destroy();
    this._plot = null;
    this._begin();
  }

  _fit() {
    const width = this._frame.clientWidth;
    if (this._plot !== null && width > 0 && width !== this._plot.width) this._plot.setSize({ width, height: HEIGHT });
  }

  _begin() {
    const width = this._frame.clientWidth;
    if (width === 0) return;
    const [ink, grid] = [colour("--faint"), colour("--line")];
    const axis = { stroke: ink, font: "11px system-ui, sans-serif", grid: { stroke: grid, width: 1 }, ticks: { show: false } };
    this._plot = new uPlot({
      width,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [
        { ...axis, size: 28, space: 70, values: [
          [60, "{HH}:{mm}", null, null, null, null, null, null, 1],
          [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1],
        ] },
        { ...axis, size: 62, space: 34, values: (_, ticks) => ticks.map((tick) => this._format(tick)) },
      ],
      series: [{}, ...this._names.map((name) => ({
        label: name,
        stroke: colour(FORMS[name][0]),
        dash: FORMS[name][1],
        width: 1.5,
        points: { show: false },
        spanGaps: false,
      }))],
      hooks: { setCursor: [(plot) => { this._pointed = plot.cursor.idx ?? null; this._tell(); }] },
    }, this._data.length > 1 ? this._data : [[], ...this._names.map(() => [])], this._frame);
  }

  /** Say the values under the pointer, else the last ones. */
  _tell() {
    const at = this._pointed ?? this._data[0].length - 1;
    const shown = this._names.map((name, i) => ({ name, i, value: this._data[i + 1]?.[at] ?? null }))
      .filter(({ i }) => i === 0 || this._data[i + 1]?.some((value) => value !== null && value > 0));
    keep(this._legend, shown, (one) => one.name, (one) => {
      const value = element("span", { class: "value" });
      return {
        node: element("li", {}, sample(one.name), element("span", {}, one.name), value),
        show: (last) => say(value, last.value === null ? "–" : this._format(last.value)),
      };
    });
  }
}

/** A piece of a line, as it is drawn in the chart. */
function sample(name) {
  const [property, dash] = FORMS[name];
  const svg = drawn("svg", { width: "22", height: "8", "aria-hidden": "true" });
  const line = drawn("line", { x1: "0", x2: "22", y1: "4", y2: "4", "stroke-width": "2", "stroke-dasharray": dash.join(" ") });
  line.style.stroke = `var(${property})`;
  svg.append(line);
  return svg;
}
