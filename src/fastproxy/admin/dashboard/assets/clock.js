/** What time it is at the proxy, by which all is told that it tells; this computer's clock may be another. */

let aheadS = 0;

/** Take the time that the proxy has just told. @param {number} unixS */
export function setClock(unixS) {
  aheadS = unixS - Date.now() / 1000;
}

/** The time at the proxy now, in Unix time. */
export const now = () => Date.now() / 1000 + aheadS;
