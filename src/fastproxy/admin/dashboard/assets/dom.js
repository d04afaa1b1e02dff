/**
 * Makes and keeps elements of the page.
 *
 * What comes from the API becomes text and nothing else: children that are strings are text nodes, and names of
 * elements and attributes are this page's own. (The Content-Security-Policy has the browser hold us to it.)
 */

/**
 * Make an element.
 * @param {string} name
 * @param {Record<string, string | boolean | ((event: Event) => void)>} [attributes] functions listen to the event
 *   that the attribute names
 * @param {...(Node | string | null | undefined)} children
 * @returns {HTMLElement}
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/**
 * Make an element of SVG.
 * @param {string} name
 * @param {Record<string, string>} [attributes]
 * @returns {SVGElement}
 */
export function drawn(name, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Find what stands on the page from the beginning. @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** Show a text; leaves alone what shows it already, with whatever is selected in it. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Set a text of the docs' kind, with its `code` in backquotes.
 * @param {string} text
 * @returns {(string | HTMLElement)[]}
 */
export const withCode = (text) => text.split("`").map((part, i) => (i % 2 ? element("code", {}, part) : part));

/** Set an attribute if it says something else. */
export function mark(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

const kept = new WeakMap();

/**
 * Have the children of a node stand for some items, in their order. What stands for an item stays the same
 * element from one time to the next, so that focus, selection and what is unfolded stay too.
 * @template Item
 * @param {Element} parent
 * @param {Item[]} items
 * @param {(item: Item) => string} keyOf
 * @param {(item: Item) => {node: Element, show: (item: Item) => void}} make
 */
export function keep(parent, items, keyOf, make) {
  const before = kept.get(parent) ?? new Map();
  const now = new Map();
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    if (now.has(key)) continue;
    const one = before.get(key) ?? make(item);
    one.show(item);
    if (one.node === next) next = next.nextElementSibling;
    else parent.insertBefore(one.node, next);
    now.set(key, one);
  }
  for (const [key, one] of before) if (!now.has(key)) one.node.remove();
  kept.set(parent, now);
}
