// The page: what its address means, and what its keys do.

import { addressOf, readAddress } from "./address.js";
import { SECTIONS, showCollection } from "./collection.js";
import { showCollections } from "./collections.js";
import { askForKey, showHelp } from "./dialogs.js";
import { h, note } from "./elements.js";
import { whenKeyIsNeeded } from "./server.js";
import { listen } from "./shortcuts.js";

const THEME = "vecdb-theme";
const main = document.getElementById("main");
const where = document.getElementById("where");
let shown = new AbortController();

/** Show what the address means. `moves`: the focus goes there. */
async function show(moves) {
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  const address = readAddress(location.hash);
  where.textContent = address.name;
  document.title = address.name ? `${address.name} – vecdb` : "vecdb";
  main.setAttribute("aria-busy", "true");
  try {
    await open(address, signal);
  } catch (error) {
    if (signal.aborted) {
      return;
    }
    main.replaceChildren(
      h("h1", { tabindex: "-1" }, address.name || "Collections"),
      note("bad", error.message),
      h("p", {}, h("button", { type: "button", onclick: () => show(true) }, "Try again")),
    );
  }
  if (!signal.aborted) {
    main.removeAttribute("aria-busy");
    if (moves) {
      main.querySelector("h1").focus();
    }
  }
}

function open(address, signal) {
  if (!address.name) {
    return showCollections(main, signal);
  }
  if (!SECTIONS.has(address.section)) {
    throw new Error("There is no such page.");
  }
  return showCollection(main, address, signal);
}

/** Go to a section of the collection that is shown. */
function go(section) {
  const { name } = readAddress(location.hash);
  if (name) {
    location.hash = addressOf(name, section);
  }
}

function search() {
  const form = main.querySelector("form");
  if (form) {
    form.querySelector("input:checked").focus();
  } else {
    go("search");
  }
}

/** Move the focus among the points that were found. */
function step(by) {
  const items = [...main.querySelectorAll(".results > li")];
  const at = items.findIndex((item) => item.contains(document.activeElement));
  items[at < 0 ? 0 : Math.min(items.length - 1, Math.max(0, at + by))]?.focus();
}

function startTheme() {
  const select = document.getElementById("theme");
  const use = () => document.documentElement.style.setProperty("color-scheme", select.value);
  select.value = localStorage.getItem(THEME) ?? "light dark";
  select.addEventListener("change", () => {
    localStorage.setItem(THEME, select.value);
    use();
  });
  use();
}

function startKeys() {
  const sections = [...SECTIONS.keys()].map((section, at) => [at + 1, () => go(section)]);
  listen({
    "?": showHelp,
    c: () => (location.hash = "#/"),
    "/": search,
    j: () => step(1),
    k: () => step(-1),
    r: () => show(false),
    ...Object.fromEntries(sections),
  });
}

async function changeKey() {
  if (await askForKey(false)) {
    show(false);
  }
}

whenKeyIsNeeded(askForKey);
startTheme();
startKeys();
document.getElementById("help").addEventListener("click", showHelp);
document.getElementById("key").addEventListener("click", changeKey);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // what follows "#" is an address here
  main.focus();
});
addEventListener("hashchange", () => show(true));
show(false);
