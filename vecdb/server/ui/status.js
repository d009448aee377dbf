// Status: how a collection is, in a word.

import { h } from "./elements.js";

const WORDS = {
  green: ["good", "ready"],
  yellow: ["busy", "optimizing"],
  grey: ["idle", "waiting for the optimizer"],
  red: ["bad", "failed"],
};

/** The word of a status, with its colour. */
export function badge(status) {
  const [kind, word] = WORDS[status] ?? ["idle", status];
  return h("span", { class: `badge ${kind}` }, word);
}
