// Collections: all of a database, and where its bytes are.

import { addressOf } from "./address.js";
import { bar, h, note, table } from "./elements.js";
import { bytes, counted, count } from "./figures.js";
import { keepShowing } from "./live.js";
import { get } from "./server.js";
import { badge } from "./status.js";
import { described } from "./vectors.js";

/** Show them, until the signal. */
export async function showCollections(place, signal) {
  const body = h("div", { class: "stack" });
  const summary = h("p", { class: "lead" });
  place.replaceChildren(h("h1", { tabindex: "-1" }, "Collections"), summary, body);
  const load = async () => (await get("vecdb/collections", signal)).result;
  await keepShowing(load, (found) => show(found, summary, body), signal);
}

function show({ version, read_only, collections, damaged }, summary, body) {
  const points = collections.reduce((sum, each) => sum + each.points_count, 0);
  const file = collections.reduce((sum, each) => sum + each.bytes.file, 0);
  summary.textContent =
    `${counted(collections.length, "collection")}, ${counted(points, "point")}, ` +
    `${bytes(file)} on disk. vecdb ${version}${read_only ? ", follows another process" : ""}.`;
  body.replaceChildren(
    ...damaged.map((name) =>
      note("bad", "A collection cannot be opened: ", h("a", { href: addressOf(name) }, name)),
    ),
    collections.length
      ? listed(collections)
      : note("info", "There are none yet. A client makes them: see create_collection."),
  );
  return collections.some((each) => each.status === "yellow");
}

function listed(collections) {
  const columns = [
    "Name",
    "State",
    { label: "Points", figures: true },
    "Vectors",
    { label: "On disk", figures: true },
    { label: "Private RAM", figures: true },
    { label: "Resident of mapped", figures: true },
  ];
  const largest = Math.max(
    ...collections.flatMap(({ bytes: b }) => [b.file, b.anonymous, b.mapped]),
  );
  const rows = collections.map((each) => [
    name(each),
    badge(each.status),
    count(each.points_count),
    described(each.vectors),
    [bytes(each.bytes.file), bar("disk", each.bytes.file, largest)],
    [bytes(each.bytes.anonymous), bar("private", each.bytes.anonymous, largest)],
    [`${bytes(each.bytes.resident)} of ${bytes(each.bytes.mapped)}`, bar("mapped", each.bytes.mapped, largest, each.bytes.resident)],
  ]);
  return table("Collections", columns, rows);
}

function name(each) {
  const link = h("a", { href: addressOf(each.name) }, each.name);
  return each.aliases.length
    ? [link, h("span", { class: "quiet" }, ` also ${each.aliases.join(", ")}`)]
    : [link];
}
