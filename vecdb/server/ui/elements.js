// Elements: the parts that pages are made of. Text goes in as text, never as HTML.

/** An element. Attributes that are null or false are left out; `on…` are listeners. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) {
      continue;
    }
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

let last = 0;

/** An id that nothing else has. */
export function newId() {
  last += 1;
  return `e${last}`;
}

/** A part of a page with a heading. */
export function section(title, ...children) {
  const id = newId();
  return h("section", { "aria-labelledby": id }, h("h2", { id }, title), ...children);
}

/** A sentence that stands out: "info", "warn" or "bad", which is also said aloud. */
export function note(kind, ...text) {
  return h("p", { class: `note ${kind}`, role: kind === "bad" ? "alert" : null }, ...text);
}

/** A table. A column is its label, or `{label, figures}`; a row is a list of cells, of which the
 * first names it. Narrow screens show each row as a card, for which roles are said again. */
export function table(caption, columns, rows) {
  const all = columns.map((column) => (typeof column === "string" ? { label: column } : column));
  const heads = all.map((column) =>
    h("th", { scope: "col", role: "columnheader", class: column.figures ? "figure" : null }, column.label),
  );
  return h(
    "table",
    { role: "table" },
    h("caption", { class: "hidden" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads)),
    h(
      "tbody",
      { role: "rowgroup" },
      rows.map((row) => h("tr", { role: "row" }, row.map((cell, at) => tableCell(all[at], cell, at)))),
    ),
  );
}

function tableCell(column, cell, at) {
  const attributes = { class: column.figures ? "figure" : null, "data-label": column.label };
  return at === 0
    ? h("th", { ...attributes, scope: "row", role: "rowheader" }, cell)
    : h("td", { ...attributes, role: "cell" }, cell);
}

/** How much of a whole something is, for the eye: the figure stands beside it. `part` is drawn
 * within it. */
export function bar(kind, value, whole, part = 0) {
  const element = h("span", { class: `bar ${kind}`, "aria-hidden": "true" });
  element.style.setProperty("--share", shareOf(value, whole));
  element.style.setProperty("--part", shareOf(part, whole));
  return element;
}

function shareOf(value, whole) {
  return value > 0 ? `max(2px, ${((100 * value) / Math.max(whole, value)).toFixed(2)}%)` : "0px";
}

/** Labels and what they say. */
export function facts(entries) {
  return h(
    "dl",
    { class: "facts" },
    entries.map(([label, ...value]) => h("div", {}, h("dt", {}, label), h("dd", {}, ...value))),
  );
}

/** A field with its label, perhaps a hint, and room for what is wrong with it. */
export function field(label, input, hint = null) {
  input.id ||= newId();
  const problem = h("span", { class: "problem", id: `${input.id}-problem`, role: "alert" });
  const described = hint && h("span", { class: "hint", id: `${input.id}-hint` }, hint);
  input.setAttribute("aria-describedby", [described?.id, problem.id].filter(Boolean).join(" "));
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, described, problem);
}

/** Say what is wrong with a field's input; nothing, if `problem` is empty. */
export function complain(input, problem) {
  document.getElementById(`${input.id}-problem`).textContent = problem;
  if (problem) {
    input.setAttribute("aria-invalid", "true");
  } else {
    input.removeAttribute("aria-invalid");
  }
}
