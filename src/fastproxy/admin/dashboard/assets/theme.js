/** Light, dark, or as the system has it. */

import { byId, say } from "./dom.js";

const KEPT = "fastproxy.theme";
const SIGNS = { system: "◐", light: "○", dark: "●" };
const NEXT = { system: "light", light: "dark", dark: "system" };

/**
 * Set up the switch.
 * @param {() => void} changed called when colours are others from now on
 */
export function setUpTheme(changed) {
  const button = byId("theme");
  const set = (theme) => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    say(button, `${SIGNS[theme]} ${theme}`);
    button.setAttribute("aria-label", `Theme: ${theme}`);
    button.onclick = () => {
      localStorage.setItem(KEPT, NEXT[theme]);
      set(NEXT[theme]);
      changed();
    };
  };
  const kept = localStorage.getItem(KEPT);
  set(Object.hasOwn(NEXT, kept ?? "") ? kept : "system");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}

/** Return the colour that a custom property stands for now, as a canvas takes it. @param {string} property */
export function colour(property) {
  const probe = document.createElement("span");
  probe.style.color = `var(${property})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
