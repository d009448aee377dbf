// Overview: segments, the optimizer at work, the configuration.

import { facts, h, note, section, table } from "./elements.js";
import { bytes, count, counted, shortId, vectorName } from "./figures.js";
import { vectorsOf } from "./vectors.js";

/** Fill a place; returns what to call when the collection has changed. */
export function showOverview(place) {
  const troubles = h("div", { class: "stack" });
  const optimizer = new Optimizer();
  const segments = h("div", {});
  const configuration = h("div", {});
  place.append(
    troubles,
    section("Optimizer", optimizer.element),
    section("Segments", segments),
    section("Configuration", configuration),
  );
  return (info) => {
    troubles.replaceChildren(...troublesOf(info));
    optimizer.show(info.optimizer_progress);
    segments.replaceChildren(
      info.segments.length ? segmentTable(info.segments) : note("info", "There are no points yet."),
    );
    configuration.replaceChildren(configured(info));
  };
}

/** What the optimizer does now, next, and has done. */
class Optimizer {
  constructor() {
    this.now = h("p", { "aria-live": "polite" });
    this.rows = h("p", { class: "quiet" });
    this.progress = h("progress", { "aria-label": "Rows of the optimizer's step", hidden: true });
    this.element = h("div", { class: "optimizer" }, this.now, this.progress, this.rows);
  }

  show({ running, pending, rows_done, rows_total, completed }) {
    const done = `${counted(completed, "step")} done since the database was opened.`;
    const state = running ? `At work: ${running}.` : pending ? `Next: ${pending}.` : "Nothing to do.";
    if (this.now.textContent !== state) {
      this.now.textContent = state;
    }
    this.progress.hidden = running === null;
    this.progress.max = Math.max(1, rows_total);
    this.progress.value = rows_done;
    this.rows.textContent = running ? `${count(rows_done)} of ${count(rows_total)} rows. ${done}` : done;
  }
}

function troublesOf({ optimizer_status, warnings, damaged_files }) {
  const troubles = warnings.map(({ message }) => note("warn", message));
  if (optimizer_status !== "ok") {
    troubles.unshift(note("bad", `The optimizer failed: ${optimizer_status.error}`));
  }
  for (const { path, detail } of damaged_files) {
    const means = "Nothing is lost: answers do without it, and it is written anew.";
    troubles.push(note("warn", `Damaged file ${path}: ${detail}. ${means}`));
  }
  return troubles;
}

function segmentTable(segments) {
  const columns = [
    "Segment",
    "Kind",
    { label: "Points", figures: true },
    { label: "Deleted", figures: true },
    "Vectors",
    "Originals",
    "Codes",
    "Index",
  ];
  return table("Segments", columns, segments.flatMap(rowsOf));
}

/** A row for each vector name; one, if there are none. */
function rowsOf({ id, kind, points, deleted, vectors }) {
  const own = [h("code", {}, shortId(id)), kind, count(points), count(deleted)];
  const rows = Object.entries(vectors).map(([name, vector]) => [
    ...own.map((cell) => (cell instanceof Node ? cell.cloneNode(true) : cell)),
    vectorName(name),
    `${bytes(vector.bytes)}, ${vector.placement}`,
    vector.quantization ? `${vector.quantization}, ${vector.codes_placement}` : "none",
    vector.index
      ? `${counted(vector.index.partitions, "partition")}, ${bytes(vector.index.sketch_bytes)} of sketches`
      : "none: all rows are scanned",
  ]);
  return rows.length ? rows : [[...own, "none", "–", "–", "–"]];
}

function configured({ config, wal_bytes, payload_schema }) {
  const quantized = (params) => methodOf(params.quantization_config ?? config.quantization_config);
  const vectors = vectorsOf(config.params.vectors).map(([name, params]) => [
    `Vectors, ${vectorName(name)}`,
    `${params.size} × ${params.distance}, ${quantized(params)}${params.on_disk ? ", on disk" : ""}`,
  ]);
  const fields = Object.entries(payload_schema).map(([key, { data_type, points }]) => [
    `Field ${key}`,
    `${data_type}, in ${counted(points, "point")}`,
  ]);
  return facts([
    ...vectors,
    ...fields,
    ["Recall to aim for", String(config.optimizer_config.recall)],
    ["Indexed from", indexedFrom(config.optimizer_config.indexing_threshold)],
    ["Write-ahead log", bytes(wal_bytes)],
  ]);
}

function methodOf(quantization) {
  const [method] = Object.keys(quantization ?? {});
  return method ? `${method} quantization` : "not quantized";
}

function indexedFrom(kilobytes) {
  return kilobytes === 0 ? "never" : `${bytes((kilobytes ?? 10_000) * 1024)} of vectors`;
}
