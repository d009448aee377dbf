// Memory: where every byte of a collection is.

import { bar, h, note, section, table } from "./elements.js";
import { bytes } from "./figures.js";
import { keepShowing } from "./live.js";
import { get, pathOf } from "./server.js";

const PARTS = {
  originals: "vectors as they were written",
  codes: "short forms of vectors, by quantization",
  sketches: "a few bits a dimension, which the index scans",
  indexes: "partitions of near rows, measured efforts",
  quantizers: "what turns vectors into codes",
  payload: "JSON, and edits of it",
  columns: "of payload fields, for filters",
  filters: "which rows match the filters of late",
  ids: "ids, their order, which vectors a point has",
  seqs: "the operation that wrote each row",
  masks: "which rows live",
  memory_segment: "rows that are not in files yet (estimated)",
  wal: "operations since the last checkpoint",
  catalog: "which files count",
  manifests: "what each segment consists of",
};

/** Fill a place; returns what to call when the collection has changed. */
export function showMemory(place, { name, signal }) {
  const body = h("div", { class: "stack" });
  place.append(section("Where every byte is", legend(), body));
  const load = async () => (await get(`vecdb/${pathOf(name, "memory")}`, signal)).result;
  keepShowing(load, (report) => show(report, body), signal).catch((error) => {
    if (!signal.aborted) {
      body.replaceChildren(note("bad", error.message));
    }
  });
  return () => {};
}

function legend() {
  const meanings = [
    ["disk", "On disk: bytes of files."],
    ["private", "Private RAM: only swap could take it back."],
    ["resident", "Resident: pages of files in RAM now, which the kernel may take back."],
    ["unread", "Mapped, and not in RAM now."],
  ];
  return h(
    "ul",
    { class: "legend" },
    meanings.map(([kind, meaning]) =>
      h("li", {}, h("span", { class: `key ${kind}`, "aria-hidden": "true" }), meaning),
    ),
  );
}

function show({ parts, total }, body) {
  const used = Object.entries(parts).filter(([, part]) => Object.values(part).some(Boolean));
  const largest = Math.max(1, ...used.flatMap(([, part]) => [part.file, part.anonymous, part.mapped]));
  const columns = [
    "Part",
    { label: "On disk", figures: true },
    { label: "Private RAM", figures: true },
    { label: "Resident of mapped", figures: true },
  ];
  used.sort(([, a], [, b]) => b.file + b.anonymous - (a.file + a.anonymous));
  const rows = [
    row(h("strong", {}, "total"), total, Math.max(total.file, total.anonymous, total.mapped)),
    ...used.map(([name, part]) => row(nameOf(name), part, largest)),
  ];
  const shown = table("Bytes of each part", columns, rows);
  shown.classList.add("bytes");
  body.replaceChildren(shown);
  return false;
}

function nameOf(part) {
  return [part.replace("_", " "), h("span", { class: "quiet" }, PARTS[part] ?? "")];
}

function row(name, { file, anonymous, mapped, resident }, whole) {
  return [
    name,
    [bytes(file), bar("disk", file, whole)],
    [bytes(anonymous), bar("private", anonymous, whole)],
    [mapped ? `${bytes(resident)} of ${bytes(mapped)}` : bytes(0), bar("mapped", mapped, whole, resident)],
  ];
}
