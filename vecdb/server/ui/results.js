// Results: points with their payloads, which are shown as text and nothing else.

import { addressOf } from "./address.js";
import { h } from "./elements.js";
import { Numeral, format } from "./json.js";
import { get, pathOf } from "./server.js";

/** A list that grows by a page of points at a time. */
export class Results {
  constructor(name, signal) {
    this.name = name;
    this.signal = signal;
    this.element = h("ol", { class: "results", "aria-label": "Points" });
  }

  /** Append points. `scored`: their scores mean something. */
  add(points, scored) {
    this.element.append(...points.map((point) => this.item(point, scored)));
  }

  item({ id, score, payload, version }, scored) {
    const like = addressOf(this.name, "search", { id: String(id) });
    const facts = [`version ${version}`, scored && `score ${score}`].filter(Boolean).reverse();
    return h(
      "li",
      { tabindex: "-1" },
      h(
        "div",
        { class: "point" },
        h("code", { class: "id" }, String(id)),
        h("span", { class: "quiet" }, facts.join(", ")),
        h("a", { href: like, "aria-label": `Similar to ${id}` }, "Similar"),
      ),
      payloadOf(payload),
      this.vectors(id),
    );
  }

  /** Its vectors, which are asked for when they are wanted. */
  vectors(id) {
    const shown = h("pre", { tabindex: "0", "aria-label": `Vectors of ${id}` }, "…");
    const load = async () => {
      try {
        const { vector } = (await get(pathOf(this.name, "points", String(id)), this.signal)).result;
        shown.textContent = format(vector);
      } catch (error) {
        shown.textContent = error.message;
      }
    };
    const details = h("details", {}, h("summary", {}, "Vectors"), shown);
    details.addEventListener("toggle", load, { once: true });
    return details;
  }
}

function payloadOf(payload) {
  const fields = Object.entries(payload ?? {});
  if (!fields.length) {
    return h("p", { class: "quiet" }, "No payload.");
  }
  return h(
    "dl",
    { class: "payload" },
    fields.map(([key, value]) =>
      h("div", {}, h("dt", {}, key), h("dd", { class: kindOf(value) }, format(value))),
    ),
  );
}

function kindOf(value) {
  if (value === null) {
    return "null";
  }
  return value instanceof Numeral ? "number" : typeof value;
}
