/** Tables whose rows stay the same elements while what they show changes. */

import { element, keep, mark, say } from "./dom.js";

/**
 * @typedef {object} Column
 * @property {string} head
 * @property {(row: any) => string | Node} cell a node is put in once, when its row is made
 * @property {"number" | "name" | "id" | ""} [kind] how it is set
 * @property {(row: any) => string} [tone] "bad", "soon" or ""
 * @property {(row: any) => string} [title] what is shown when pointed at
 */

/**
 * Make a table.
 * @param {string} caption for those who can't see where it stands
 * @param {Column[]} columns the first one names the row
 * @param {(row: any) => string} keyOf tells rows apart
 * @param {string} empty said when there are none
 * @returns {{node: HTMLElement, show: (rows: any[], isCut?: boolean) => void}}
 */
export function makeTable(caption, columns, keyOf, empty) {
  const heads = columns.map((column) => element("th", { scope: "col", class: column.kind ?? "" }, column.head));
  const body = element("tbody");
  const table = element("table", {}, element("caption", { class: "unseen" }, caption),
    element("thead", {}, element("tr", {}, ...heads)), body);
  const frame = element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption }, table);
  const words = element("p", { class: "faint" });
  const node = element("div", {}, frame, words);
  return {
    node,
    show(rows, isCut = false) {
      frame.hidden = rows.length === 0;
      say(words, rows.length === 0 ? empty : isCut ? `Only the first ${rows.length} are shown.` : "");
      words.hidden = words.textContent === "";
      keep(body, rows, keyOf, (row) => makeRow(columns, row));
    },
  };
}

function makeRow(columns, first) {
  const cells = columns.map((column, i) => {
    const name = i === 0 ? "th" : "td";
    return element(name, { class: column.kind ?? "", ...(i === 0 ? { scope: "row" } : {}) }, column.cell(first));
  });
  return {
    node: element("tr", {}, ...cells),
    show(row) {
      columns.forEach((column, i) => {
        const content = column.cell(row);
        if (typeof content === "string") say(cells[i], content);
        if (column.tone) mark(cells[i], "data-tone", column.tone(row));
        if (column.title) mark(cells[i], "title", column.title(row));
      });
    },
  };
}
