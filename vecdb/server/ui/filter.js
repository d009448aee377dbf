// Filter: a condition on payloads, as JSON that is typed or put together from its parts.

import { complain, field, h, newId } from "./elements.js";
import { JsonError, format, isComposed, objectOf, parse } from "./json.js";
import { pathOf, post } from "./server.js";

const MOST_POINTS = 200_000; // of a collection whose values are listed as they are typed
const CLAUSES = ["must", "should", "must_not", "min_should"];

/** How a condition is called, and its parts: the clause, and what is said of the field. */
const OPERATORS = new Map([
  ["is", ["must", (value) => ({ match: { value } })]],
  ["is not", ["must_not", (value) => ({ match: { value } })]],
  ["is one of", ["must", (value) => ({ match: { any: Array.isArray(value) ? value : [value] } })]],
  ["has the words", ["must", (value) => ({ match: { text: String(value) } })]],
  ["is at least", ["must", (value) => ({ range: { gte: value } })]],
  ["is at most", ["must", (value) => ({ range: { lte: value } })]],
  ["is there", ["must", () => ({ is_empty: false })]],
  ["is not there", ["must", () => ({ is_empty: true })]],
]);

/** The editor of one collection's filter. */
export class FilterEditor {
  constructor({ name, info, signal }) {
    this.name = name;
    this.signal = signal;
    this.listsValues = info.points_count <= MOST_POINTS;
    this.keys = h("datalist", { id: newId() });
    this.values = h("datalist", { id: newId() });
    const plain = { autocomplete: "off", autocapitalize: "off", spellcheck: "false" };
    this.key = h("input", { list: this.keys.id, ...plain });
    this.operator = h("select", {}, [...OPERATORS.keys()].map((each) => h("option", {}, each)));
    this.value = h("input", {
      list: this.values.id,
      ...plain,
      onfocus: () => this.listValues(),
      onkeydown: (event) => this.addOnEnter(event),
    });
    this.text = h("textarea", { rows: 6, class: "code", ...plain, oninput: () => this.check() });
    const add = h("button", { type: "button", onclick: () => this.add() }, "Add condition");
    this.element = h(
      "fieldset",
      {},
      h("legend", {}, "Filter"),
      h(
        "div",
        { class: "condition" },
        field("Field", this.key),
        field("Condition", this.operator),
        field("Value", this.value),
        add,
      ),
      field("Filter as JSON", this.text, "As Qdrant's: must, should, must_not, min_should. Empty: all points."),
      this.keys,
      this.values,
    );
    this.offer(Object.keys(info.payload_schema));
  }

  /** Its JSON text, as it was typed; undefined if there is none, null if it is wrong, which is said
   * beside it. */
  read() {
    const text = this.text.value.trim();
    if (!text) {
      return undefined;
    }
    return this.check() ? text : null;
  }

  /** Say what is wrong. */
  complain(problem) {
    complain(this.text, problem);
  }

  /** Offer the fields of payloads that were seen. */
  suggest(payloads) {
    this.offer(payloads.flatMap((payload) => pathsOf(payload)));
  }

  offer(paths) {
    const known = new Set([...this.keys.children].map((option) => option.value));
    const unknown = new Set(paths.filter((path) => !known.has(path)));
    this.keys.append(...[...unknown].map((value) => h("option", { value })));
  }

  check() {
    let problem = "";
    try {
      problem = this.text.value.trim() ? problemOf(parse(this.text.value)) : "";
    } catch (error) {
      if (!(error instanceof JsonError)) {
        throw error;
      }
      problem = `Not JSON, ${error.message}.`;
    }
    complain(this.text, problem);
    return problem === "";
  }

  addOnEnter(event) {
    if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.add();
    }
  }

  add() {
    const key = this.key.value.trim();
    complain(this.key, key ? "" : "Which field of the payload?");
    const [clause, condition] = OPERATORS.get(this.operator.value);
    const wantsValue = condition.length > 0;
    complain(this.value, wantsValue && this.value.value === "" ? "Which value?" : "");
    if (!key || (wantsValue && this.value.value === "") || !this.check()) {
      return;
    }
    const filter = this.text.value.trim() ? parse(this.text.value) : {};
    const before = filter[clause] ?? [];
    const conditions = Array.isArray(before) ? before : [before];
    filter[clause] = [...conditions, { key, ...condition(readValue(this.value.value)) }];
    this.text.value = format(filter);
    this.check();
    this.value.value = "";
    this.key.focus();
  }

  async listValues() {
    const key = this.key.value.trim();
    if (!key || !this.listsValues || this.listed === key) {
      return;
    }
    this.listed = key;
    const body = objectOf({ key: JSON.stringify(key), limit: "50" });
    let hits = [];
    try {
      hits = (await post(pathOf(this.name, "facet"), body, this.signal)).result.hits;
    } catch {
      // Its values cannot be counted, or the page has gone on: they are typed without help.
    }
    if (this.listed === key) {
      const options = hits.map(({ value, count }) => h("option", { value: writeValue(value), label: `${value} (${count})` }));
      this.values.replaceChildren(...options);
    }
  }
}

/** What is wrong with a filter as a whole; the server looks at its conditions. */
function problemOf(filter) {
  if (!isComposed(filter) || Array.isArray(filter)) {
    return 'Expected an object such as {"must": [{"key": "city", "match": {"value": "Berlin"}}]}.';
  }
  const unknown = Object.keys(filter).find((name) => !CLAUSES.includes(name));
  return unknown === undefined ? "" : `"${unknown}" is no clause: expected ${CLAUSES.join(", ")}.`;
}

/** What was typed as a value: a number, true, false, a list or a string in quotes; all else is a
 * string without them. */
export function readValue(text) {
  try {
    return parse(text);
  } catch {
    return text;
  }
}

/** What is to be typed for a value: a string that would be read as something else, such as "5", or
 * that a field of one line would change, has its quotes. */
export function writeValue(value) {
  const isPlain = typeof value !== "string" || (readValue(value) === value && /^[^\n\r]+$/.test(value));
  return isPlain ? String(value) : JSON.stringify(value);
}

/** The paths to the values of a payload, as filters name them. */
function pathsOf(payload, before = "") {
  return Object.entries(payload ?? {}).flatMap(([key, value]) => {
    const path = before + (/^[\w-]+$/.test(key) ? key : JSON.stringify(key));
    if (!Array.isArray(value)) {
      return isComposed(value) ? pathsOf(value, `${path}.`) : [path];
    }
    const [first] = value; // of a list the others are alike, as a rule
    return isComposed(first) && !Array.isArray(first) ? pathsOf(first, `${path}[].`) : [path];
  });
}
