// Collection: its heading, and one of its sections.

import { addressOf } from "./address.js";
import { h } from "./elements.js";
import { counted } from "./figures.js";
import { keepShowing } from "./live.js";
import { showMemory } from "./memory.js";
import { showOverview } from "./overview.js";
import { showRecall } from "./recall.js";
import { showSearch } from "./search.js";
import { get, pathOf } from "./server.js";
import { badge } from "./status.js";
import { described } from "./vectors.js";

/** By the word in the address: the title, and what shows it. That is called with a place and what
 * is meant, and returns what to call whenever the collection has changed. */
export const SECTIONS = new Map([
  ["", ["Overview", showOverview]],
  ["memory", ["Memory", showMemory]],
  ["recall", ["Recall", showRecall]],
  ["search", ["Search", showSearch]],
]);

/** Show a section of a collection, until the signal. */
export async function showCollection(place, { name, section, options }, signal) {
  const [title, showSection] = SECTIONS.get(section);
  const state = h("span", {});
  const summary = h("p", { class: "lead" });
  const body = h("div", { class: "stack" });
  const heading = h("h1", { tabindex: "-1" }, name, h("span", { class: "hidden" }, `, ${title}`));
  place.replaceChildren(h("div", { class: "title" }, heading, state), summary, sections(name, section), body);
  let changed = null;
  await keepShowing(
    async () => (await get(`vecdb/${pathOf(name)}`, signal)).result,
    (info) => {
      state.replaceChildren(badge(info.status));
      summary.textContent =
        `${counted(info.points_count, "point")} in ${counted(info.segments.length, "segment")}. ` +
        `Vectors: ${described(info.config.params.vectors)}.`;
      changed ??= showSection(body, { name, info, options, signal });
      changed(info);
      return info.optimizer_progress.running !== null || info.optimizer_progress.pending !== null;
    },
    signal,
  );
}

function sections(name, current) {
  const links = [...SECTIONS].map(([section, [title]]) =>
    h("a", { href: addressOf(name, section), "aria-current": section === current && "page" }, title),
  );
  return h("nav", { class: "sections", "aria-label": "Sections of the collection" }, links);
}
