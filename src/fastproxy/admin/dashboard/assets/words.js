/** Numbers and times in words, short and of even width. */

const COUNT = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** 1234567 -> "1,234,567" @param {number} value */
export const count = (value) => COUNT.format(value);

/** Three digits at most: 0.25, 4.1, 812, 12.3k, 4.5M. @param {number} value */
export function short(value) {
  const size = Math.abs(value);
  if (size >= 999_500) return `${digits(value / 1e6)}M`;
  if (size >= 9_995) return `${digits(value / 1e3)}k`;
  if (size >= 1000) return COUNT.format(value);
  return digits(value);
}

function digits(value) {
  const size = Math.abs(value);
  if (size === 0 || size >= 99.5 || Number.isInteger(value)) return value.toFixed(0);
  return value.toFixed(size >= 9.95 ? 1 : 2).replace(/0$/, "").replace(/\.$/, "");
}

/** Per second. @param {number} value */
export const rate = (value) => `${short(value)}/s`;

/** A share of 1 as a percentage; never 0 for what isn't, nor 100. @param {number} value */
export function share(value) {
  const percent = value * 100;
  if (percent === 0) return "0 %";
  if (percent < 0.01) return "<0.01 %";
  if (percent > 99.9 && percent < 100) return ">99.9 %";
  return `${digits(percent)} %`;
}

/** How long something took, or may take. @param {number | null} seconds */
export function duration(seconds) {
  if (seconds === null) return "–";
  if (seconds < 0) return `−${duration(-seconds)}`;
  if (seconds === 0) return "0 s";
  if (seconds < 0.0009995) return `${digits(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${digits(seconds * 1e3)} ms`;
  if (seconds < 120) return `${digits(seconds)} s`;
  return age(seconds);
}

/** How old something is, in the largest unit that tells enough. @param {number} seconds */
export function age(seconds) {
  if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${count(Math.round(seconds / 86_400))} d`;
}

/** Size in memory or on the wire. @param {number} value */
export function bytes(value) {
  if (value < 1024) return `${value.toFixed(0)} B`;
  for (const [unit, size] of [["KiB", 2 ** 10], ["MiB", 2 ** 20], ["GiB", 2 ** 30]]) {
    if (value < size * 1000 || unit === "GiB") return `${digits(value / size)} ${unit}`;
  }
  return "";
}

/** The time of day; with its date where that isn't today. @param {number} unixS */
export function clock(unixS) {
  const when = new Date(unixS * 1000);
  const time = when.toLocaleTimeString("en-GB");
  if (when.toDateString() === new Date().toDateString()) return time;
  return `${when.toLocaleDateString("en-CA")} ${time}`;
}

/** The last seconds, of which a page that was just opened has seen few. @param {number} seconds */
export const lastSeconds = (seconds) => (seconds > 55 ? "the last minute" : `the last ${Math.max(1, Math.round(seconds))} s`);

/** "1 link", "2 links" @param {number} number @param {string} noun */
export const some = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

const UNITS = [
  ["_per_s", rate],
  ["_unix_s", clock],
  ["_bytes", bytes],
  ["_s", duration],
];

/**
 * Say one of the numbers of a failure: "timeout_s", 2 -> ["timeout", "2 s"].
 * @param {string} name its unit is at its end
 * @param {unknown} value
 * @returns {[string, string]}
 */
export function named(name, value) {
  if (name === "per_s" && typeof value === "number") return ["rate", rate(value)];
  for (const [end, words] of UNITS) {
    if (name.endsWith(end) && typeof value === "number") {
      return [name.slice(0, -end.length).replaceAll("_", " "), words(value)];
    }
  }
  return [name.replaceAll("_", " "), typeof value === "number" ? short(value) : String(value)];
}
