/** The fields that ask for a token where the proxy wants one, and say so where it tells nobody. */

import { token } from "./api.js";
import { byId, say, withCode } from "./dom.js";

/**
 * @param {() => void} again called when there is another token to try
 * @returns {{refused: (error: import("./api.js").Refused) => void, admitted: () => void}}
 */
export function setUpSignIn(again) {
  const field = byId("token");
  byId("sign-in-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token.keep(field.value.trim());
    field.value = "";
    again();
  });
  byId("sign-out").addEventListener("click", () => {
    token.forget();
    location.reload();
  });
  return {
    refused(error) {
      const asksForToken = error.status === 401;
      byId("board").hidden = byId("sections").hidden = true;
      byId("sign-in").hidden = !asksForToken;
      byId("closed").hidden = asksForToken;
      say(byId("connection"), asksForToken ? "signed out" : "no access");
      if (asksForToken) {
        say(byId("sign-in-words"), token.has() ? `That was refused: ${error.message}.` : "This proxy wants its token.");
        token.forget();
        field.focus();
      } else {
        byId("closed-words").replaceChildren(...withCode(error.message));
      }
    },
    admitted() {
      byId("sign-in").hidden = byId("closed").hidden = true;
      byId("board").hidden = byId("sections").hidden = false;
      byId("sign-out").hidden = !token.has();
    },
  };
}
