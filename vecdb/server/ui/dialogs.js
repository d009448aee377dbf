// Dialogs: the key, and the shortcuts.

import { field, h, newId, note } from "./elements.js";
import { key, keepKey } from "./server.js";
import { SHORTCUTS, areOn, turn } from "./shortcuts.js";

/** Ask for the key of the server. Resolves to whether one was given. `wrong`: the last was. */
export function askForKey(wrong) {
  const input = h("input", { type: "password", autocomplete: "off", value: wrong ? "" : key() });
  const problem = wrong ? note("bad", "The server does not know this key.") : null;
  const forget = h("button", { type: "button", onclick: () => close("forget") }, "Forget it");
  const dialog = dialogOf(
    "Key of the server",
    problem,
    h("p", {}, "This tab keeps it until it is closed, and sends it with each request. A read-only key is enough."),
    field("Key", input),
    h(
      "div",
      { class: "buttons" },
      key() ? forget : null,
      h("button", { type: "button", onclick: () => close("cancel") }, "Cancel"),
      h("button", { class: "main", value: "use" }, "Use it"),
    ),
  );
  function close(value) {
    dialog.close(value);
  }
  return opened(dialog, input).then((chosen) => {
    if (chosen === "forget") {
      keepKey("");
    } else if (chosen === "use") {
      keepKey(input.value.trim());
    }
    return chosen === "forget" || (chosen === "use" && input.value.trim() !== "");
  });
}

/** Show the shortcuts, and let them be turned off. */
export function showHelp() {
  const id = newId();
  const box = h("input", { type: "checkbox", id, checked: areOn(), onchange: () => turn(box.checked) });
  const rows = SHORTCUTS.map(({ keys, does }) =>
    h("div", {}, h("dt", {}, keys.map((each) => h("kbd", {}, each))), h("dd", {}, does)),
  );
  const done = h("button", { class: "main", value: "done" }, "Close");
  const dialog = dialogOf(
    "Keyboard",
    h("p", {}, "Tab moves from one thing to the next, Escape closes what is open."),
    h("dl", { class: "shortcuts" }, rows),
    h("p", { class: "check" }, box, h("label", { for: id }, "Shortcuts of a single key are on")),
    h("div", { class: "buttons" }, done),
  );
  return opened(dialog, done);
}

function dialogOf(title, ...children) {
  const id = newId();
  const form = h("form", { method: "dialog", class: "stack" }, h("h2", { id }, title), ...children);
  return h("dialog", { "aria-labelledby": id }, form);
}

/** Resolves to the value of the button that closed it. */
function opened(dialog, first) {
  const before = document.activeElement;
  document.body.append(dialog);
  dialog.showModal();
  first.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      before?.focus();
      resolve(dialog.returnValue);
    });
  });
}
