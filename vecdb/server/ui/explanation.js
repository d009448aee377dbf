// Explanation: what a search did in each segment, stage by stage.

import { bar, h, note, table } from "./elements.js";
import { count, counted, shortId } from "./figures.js";

const STAGES = {
  condition: "a condition, by its index",
  filter: "the filter, on payloads",
  sketches: "sketches of the index",
  codes: "codes",
  postings: "postings of the index",
  estimates: "estimates by centroids",
  originals: "originals",
  examples: "examples",
  text: "texts",
  mmr: "differences among the best",
  ids: "ids",
  values: "values",
  sample: "a sample",
};

// How points come that have no scores.
const UNSCORED = {
  ids: "in the order of their ids",
  values: "in the order of a value",
  sample: "by chance",
};

const FEW = 3; // segments that are shown without being asked for

/** The explanation of an answer, as the server gives it. */
export function explained(explanation) {
  if (!explanation?.length) {
    return note("info", "Nothing was compared: there are no points.");
  }
  return h(
    "details",
    { class: "explanation", open: explanation.length <= FEW },
    h("summary", {}, summaryOf(explanation)),
    ...explanation.map(segment),
  );
}

function summaryOf(explanation) {
  const unscored = explanation.flatMap(({ stages }) => stages).find(({ by }) => by in UNSCORED);
  if (unscored) {
    return `Nothing was compared: points come ${UNSCORED[unscored.by]}`;
  }
  const points = explanation.reduce((sum, each) => sum + each.points, 0);
  const scored = explanation.flatMap(({ stages }) => stages.filter(({ by }) => by === "originals"));
  const rows = scored.reduce((sum, stage) => sum + stage.rows, 0);
  const segments = counted(explanation.length, "segment");
  return `What the search did: ${count(rows)} of ${counted(points, "point")} by originals, in ${segments}`;
}

function segment({ id, kind, points, stages }) {
  const columns = [
    "Stage",
    { label: "Rows looked at", figures: true },
    { label: "Went on", figures: true },
    "Why",
  ];
  const rows = stages.map(({ by, rows, kept, reason }) => [
    STAGES[by] ?? by,
    [count(rows), bar("private", rows, points)],
    [count(kept), bar("disk", kept, points)],
    reason,
  ]);
  const title = `Segment ${shortId(id)}`;
  return h(
    "div",
    { class: "segment" },
    h("h2", {}, title, h("span", { class: "quiet" }, ` ${kind}, ${counted(points, "point")}`)),
    rows.length ? table(`Stages in ${title}`, columns, rows) : h("p", {}, "Nothing to look at."),
  );
}
