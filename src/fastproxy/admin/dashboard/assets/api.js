/**
 * Asks the admin API of the proxy that has served this page.
 *
 * The token, where one is needed, is kept for this tab alone (sessionStorage) and goes out in a header; cookies and
 * what the browser may know of passwords do not.
 */

const ROOT = "/api/v1/";
const TOKEN = "fastproxy.token";
const PATIENCE_MS = 5000;

/** The proxy can't be reached, or doesn't answer as the API does. */
export class Unreachable extends Error {}

/** The proxy has refused to answer. */
export class Refused extends Error {
  /** @param {number} status @param {string} words what is wrong and what to do */
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

export const token = {
  has: () => sessionStorage.getItem(TOKEN) !== null,
  keep: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

/**
 * Ask for something.
 * @param {string} what below `/api/v1/`
 * @param {Record<string, string>} [query] empty values are left out
 * @returns {Promise<any>}
 * @throws {Unreachable | Refused}
 */
export async function ask(what, query = {}) {
  const answer = await request(what, query, AbortSignal.timeout(PATIENCE_MS));
  try {
    return await answer.json();
  } catch (error) {
    throw new Unreachable("its answer was cut", { cause: error });
  }
}

/**
 * Read a stream of objects, one a line.
 * @param {string} what
 * @param {Record<string, string>} query
 * @param {AbortSignal} signal ends it
 * @param {() => void} begun called when it is there
 * @returns {AsyncGenerator<any[]>} what has come since, some objects at a time
 * @throws {Unreachable | Refused}
 */
export async function* listen(what, query, signal, begun) {
  const answer = await request(what, query, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  begun();
  let rest = "";
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      if (signal.aborted) return;
      throw new Unreachable("the stream broke", { cause: error });
    }
    if (piece.done) return;
    const lines = (rest + piece.value).split("\n");
    rest = lines.pop();
    const objects = lines.filter((line) => line !== "").map((line) => JSON.parse(line));
    if (objects.length > 0) yield objects;
  }
}

async function request(what, query, signal) {
  const parameters = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== ""));
  const url = ROOT + what + (parameters.size > 0 ? `?${parameters}` : "");
  const headers = token.has() ? { authorization: `Bearer ${sessionStorage.getItem(TOKEN)}` } : {};
  let answer;
  try {
    // `omit`: or the browser would meet a 401 with a window of its own that asks for a password.
    answer = await fetch(url, { headers, signal, credentials: "omit", cache: "no-store", redirect: "error" });
  } catch (error) {
    throw new Unreachable(error.name === "TimeoutError" ? "it does not answer" : "no connection", { cause: error });
  }
  if (!answer.ok) throw new Refused(answer.status, await wordsOf(answer));
  return answer;
}

async function wordsOf(answer) {
  const text = await answer.text().catch(() => "");
  try {
    const problem = JSON.parse(text);
    return String(problem.detail || problem.title);
  } catch {
    return text.trim() || `status ${answer.status}`;
  }
}
