/**
 * Looks at the proxy once a second, as long as the page is seen.
 *
 * Most parts are asked for each second; those that hardly change or cost more, less often. When the proxy can't be
 * reached, what was known stays, and `lost` says since when.
 */

import { Refused, Unreachable, ask } from "./api.js";

const EACH_MS = 1000;
/** What is asked for, and each how many looks. */
const PARTS = { proxy: 1, traffic: 1, failures: 1, services: 2, limits: 2, links: 3, identities: 10 };

/**
 * @param {(answers: Record<string, any>) => void} show takes the answers of one look; parts that weren't asked for
 *   are as they were
 * @param {(since: number, words: string) => void} lost the proxy can't be reached since then (Unix time
 *   of this computer)
 * @param {(error: Refused) => void} refused it doesn't tell us
 */
export function setUpPoll(show, lost, refused) {
  const known = {};
  let looks = 0;
  let timer = 0;
  let isLooking = false;
  let lostSince = 0;
  let seenAt = Date.now() / 1000;

  async function look() {
    const names = Object.keys(PARTS).filter((name) => !(name in known) || looks % PARTS[name] === 0);
    const answers = await Promise.all(names.map((name) => ask(name)));
    looks += 1;
    names.forEach((name, i) => { known[name] = answers[i]; });
  }

  async function turn() {
    clearTimeout(timer);
    if (document.hidden || isLooking) return;
    isLooking = true;
    const begun = performance.now();
    try {
      await look();
      lostSince = 0;
      seenAt = Date.now() / 1000;
      show(known);
    } catch (error) {
      if (error instanceof Refused && (error.status === 401 || error.status === 403)) {
        isLooking = false;
        refused(error);
        return;
      }
      if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
      lostSince ||= seenAt;
      lost(lostSince, error.message);
    } finally {
      isLooking = false;
    }
    timer = setTimeout(turn, Math.max(0, EACH_MS - (performance.now() - begun)));
  }

  document.addEventListener("visibilitychange", turn);
  turn();
  return { again: turn };
}
