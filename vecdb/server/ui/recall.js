// Recall: what each share of true neighbours takes, as measured when an index was built.

import { addressOf } from "./address.js";
import { bar, h, note, section, table } from "./elements.js";
import { bytes, count, counted, shortId, vectorName } from "./figures.js";

/** Fill a place; returns what to call when the collection has changed. */
export function showRecall(place, { name }) {
  return ({ segments, config }) => {
    const usual = Number(config.optimizer_config.recall);
    const indexes = segments.flatMap((segment) =>
      Object.entries(segment.vectors)
        .filter(([, vector]) => vector.index)
        .map(([vector, { index }]) => indexOf(name, segment, vector, index, usual)),
    );
    place.replaceChildren(...(indexes.length ? indexes : [none()]));
  };
}

function none() {
  return note(
    "info",
    "There is no index yet: searches look at all rows, and are exact. One is built once a collection " +
      "is large enough; the overview says from which size on.",
  );
}

function indexOf(collection, segment, vector, { partitions, bytes_per_vector, efforts }, usual) {
  const columns = [
    "Recall",
    { label: "Rows by sketches", figures: true },
    { label: "Candidates", figures: true },
    { label: "By originals", figures: true },
    "Try it",
  ];
  const rows = grouped(efforts).map((group) => row(collection, segment, group, usual, efforts));
  return section(
    `Segment ${shortId(segment.id)}, ${vectorName(vector)} vectors`,
    h(
      "p",
      {},
      `${counted(partitions, "partition")} of ${counted(segment.points, "point")}, ` +
        `${bytes_per_vector} bytes a vector on disk. To find this share of the true ten nearest, a ` +
        "search looks at so many rows, in the median:",
    ),
    table(`What each recall takes in segment ${shortId(segment.id)}`, columns, rows),
  );
}

/** Recalls that take the same, from the lowest to the highest of them. */
function grouped(efforts) {
  const groups = [];
  for (const effort of efforts) {
    const last = groups.at(-1)?.at(-1);
    if (last && ["rows", "candidates", "survivors"].every((name) => last[name] === effort[name])) {
      groups.at(-1).push(effort);
    } else {
      groups.push([effort]);
    }
  }
  return groups;
}

function row(collection, segment, group, usual, efforts) {
  const { rows, candidates, survivors } = group.at(-1);
  const [low, high] = [Number(group[0].recall), Number(group.at(-1).recall)];
  const before = efforts[efforts.indexOf(group[0]) - 1];
  const isUsual = usual <= high && (before === undefined || usual > Number(before.recall));
  // The last line is for recalls that sketches were not found to reach: all originals are scored.
  const all = group.at(-1) === efforts.at(-1);
  const originals = all ? rows : survivors || candidates;
  const recall = [low === high ? String(high) : `${low} to ${high}`];
  if (isUsual) {
    recall.push(" ", h("span", { class: "badge good" }, "default"));
  }
  const link = addressOf(collection, "search", { recall: high });
  return [
    recall,
    all ? "–" : [count(rows), bar("private", rows, segment.points)],
    all ? "–" : count(candidates),
    [count(originals), bar("disk", originals, segment.points)],
    h("a", { href: link, "aria-label": `Search with recall ${high}` }, "Search"),
  ];
}
