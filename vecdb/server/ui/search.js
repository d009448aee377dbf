// Search: near a point or a vector, or by the payload alone, and what it took.

import { complain, field, h, newId, note } from "./elements.js";
import { explained } from "./explanation.js";
import { counted, seconds, vectorName } from "./figures.js";
import { FilterEditor } from "./filter.js";
import { objectOf } from "./json.js";
import { Results } from "./results.js";
import { pathOf, post } from "./server.js";
import { readVector, vectorsOf } from "./vectors.js";

const UUID = /^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/i;

/** Fill a place; returns what to call when the collection has changed. */
export function showSearch(place, context) {
  new Search(place, context).form.requestSubmit(); // what the address asks for, or the first points
  return () => {};
}

class Search {
  constructor(place, context) {
    Object.assign(this, context);
    this.vectors = vectorsOf(this.info.config.params.vectors);
    this.running = null;
    this.query = new Query(this.vectors, this.options.get("id"));
    this.filter = new FilterEditor(context);
    this.limit = h("input", { type: "number", min: 1, max: 100, value: 10, required: true });
    this.recall = h("input", { type: "number", min: 0.01, max: 1, step: "any" });
    this.recall.value = this.options.get("recall") ?? "";
    this.exact = h("input", { type: "checkbox", id: newId() });
    const form = h(
      "form",
      { novalidate: true, onsubmit: (event) => this.submit(event), onkeydown: (event) => this.onKey(event) },
      this.query.element,
      this.filter.element,
      this.optionFields(),
      h("button", { class: "main", title: "Ctrl+Enter" }, "Search"),
    );
    this.form = form;
    this.answer = h("div", { class: "stack" });
    place.append(h("div", { class: "search" }, form, this.answer));
  }

  optionFields() {
    return h(
      "fieldset",
      {},
      h("legend", {}, "How"),
      h(
        "div",
        { class: "condition" },
        field("Results at a time", this.limit),
        field("Recall", this.recall, `Empty: ${this.info.config.optimizer_config.recall}, as configured.`),
      ),
      h("p", { class: "check" }, this.exact, h("label", { for: this.exact.id }, "Exact: compare with every vector")),
    );
  }

  onKey(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.form.requestSubmit();
    }
  }

  submit(event) {
    event.preventDefault();
    const request = this.read();
    if (request === null) {
      this.form.querySelector("[aria-invalid]").focus();
      return;
    }
    this.results = new Results(this.name, this.signal);
    this.found = 0;
    this.ask(request);
  }

  /** The fields of the request, as JSON texts; null: something is wrong, which is said beside it. */
  read() {
    const limit = Number(this.limit.value);
    const recall = this.recall.value;
    const isCount = Number.isInteger(limit) && limit >= 1 && limit <= 100;
    const isShare = recall === "" || (Number(recall) > 0 && Number(recall) <= 1);
    complain(this.limit, isCount ? "" : "Expected 1 to 100.");
    complain(this.recall, isShare && this.recall.validity.valid ? "" : "Expected more than 0, at most 1.");
    const query = this.query.read();
    const filter = this.filter.read();
    if (query === null || filter === null || this.form.querySelector("[aria-invalid]")) {
      return null;
    }
    const params = objectOf({
      recall: recall || undefined,
      exact: this.exact.checked ? "true" : undefined,
    });
    return { ...query, filter, params, limit: String(limit), with_payload: "true" };
  }

  async ask(request) {
    this.running?.abort();
    this.running = new AbortController();
    const signal = AbortSignal.any([this.running.signal, this.signal]);
    this.answer.setAttribute("aria-busy", "true");
    try {
      const body = objectOf({ ...request, offset: String(this.found) });
      const answer = await post(`vecdb/${pathOf(this.name, "explain")}`, body, signal);
      this.show(answer, request);
    } catch (error) {
      if (!signal.aborted) {
        this.refused(error);
      }
    } finally {
      if (!signal.aborted) {
        this.answer.removeAttribute("aria-busy");
      }
    }
  }

  refused(error) {
    const text = error.message.replace(/^(Wrong input|Format error in JSON body|Bad request): /, "");
    if (/filter/.test(error.message)) {
      this.filter.complain(text);
    }
    this.answer.replaceChildren(note("bad", text));
  }

  show({ result: { points, explanation }, time }, request) {
    const first = this.found === 0;
    this.explanation = first ? explained(explanation) : this.explanation;
    this.found += points.length;
    this.results.add(points, request.query !== undefined);
    this.filter.suggest(points.map((point) => point.payload));
    const took = `${counted(this.found, "point")}; the server took ${seconds(Number(time))}.`;
    const more = points.length === Number(request.limit) && h(
      "button",
      { type: "button", onclick: () => this.ask(request) },
      "More",
    );
    this.answer.replaceChildren(
      h("p", { class: "lead", role: "status" }, this.found ? took : `Nothing was found; the server took ${seconds(Number(time))}.`),
      this.explanation,
      this.results.element,
      ...(more ? [more] : []),
    );
    if (!first) {
      this.results.element.children[this.found - points.length]?.focus();
    }
  }
}

/** What points should be near to. */
class Query {
  constructor(vectors, id) {
    this.vectors = vectors;
    const plain = { autocomplete: "off", spellcheck: "false" };
    this.id = h("input", { ...plain, value: id ?? "" });
    this.vector = h("textarea", { rows: 4, class: "code", ...plain });
    this.using = h("select", {}, vectors.map(([name]) => h("option", { value: name }, vectorName(name))));
    this.inputs = { point: this.id, vector: this.vector };
    this.fields = {
      point: field("Id of the point", this.id, "A number or a UUID."),
      vector: field("Vector", this.vector, "Numbers, with commas or blanks between them."),
    };
    const named = vectors.length > 1 || (vectors.length === 1 && vectors[0][0] !== "");
    this.usingField = named ? field("Vector name", this.using) : null;
    this.element = h(
      "fieldset",
      {},
      h("legend", {}, "Nearest to"),
      h("div", { class: "choices" }, this.choices(vectors.length > 0, id)),
      this.fields.point,
      this.fields.vector,
      this.usingField,
    );
    this.choose(this.kind());
  }

  choices(hasVectors, id) {
    const kinds = hasVectors ? [["point", "a point"], ["vector", "a vector"], ["none", "nothing: filter only"]] : [["none", "nothing: filter only"]];
    const group = newId();
    const chosen = hasVectors && id !== null ? "point" : "none";
    this.radios = kinds.map(([value]) =>
      h("input", {
        type: "radio",
        name: group,
        id: newId(),
        value,
        checked: value === chosen,
        onchange: () => this.choose(value),
      }),
    );
    return kinds.map(([, label], at) =>
      h("span", { class: "check" }, this.radios[at], h("label", { for: this.radios[at].id }, label)),
    );
  }

  kind() {
    return this.radios.find((radio) => radio.checked).value;
  }

  choose(kind) {
    for (const [name, each] of Object.entries(this.fields)) {
      each.hidden = name !== kind;
    }
    if (this.usingField) {
      this.usingField.hidden = kind === "none";
    }
  }

  /** The fields of the request; null: something is wrong, which is said beside it. */
  read() {
    complain(this.id, "");
    complain(this.vector, "");
    const kind = this.kind();
    if (kind === "none") {
      return {};
    }
    try {
      const query = kind === "point" ? readId(this.id.value) : this.readVector();
      const using = this.using.value;
      return { query, using: using === "" ? undefined : JSON.stringify(using) };
    } catch (error) {
      complain(this.inputs[kind], error.message);
      return null;
    }
  }

  readVector() {
    const [name, { size }] = this.vectors.find(([each]) => each === this.using.value);
    return readVector(this.vector.value, name, size);
  }
}

/** The JSON of an id that was typed; a number is not read, for it may be beyond 2^53. */
function readId(text) {
  const id = text.trim();
  if (/^\d+$/.test(id)) {
    return id.replace(/^0+(?=\d)/, "");
  }
  if (UUID.test(id)) {
    return JSON.stringify(id);
  }
  throw new Error("Expected a number or a UUID.");
}
