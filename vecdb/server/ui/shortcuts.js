// Shortcuts: keys that do something wherever the focus is.

const OFF = "vecdb-shortcuts-off";

/** Their keys, and what they do. Those with an `event.key` of their own can be turned off. */
export const SHORTCUTS = [
  { keys: ["?"], does: "shows this" },
  { keys: ["c"], does: "all collections" },
  { keys: ["1", "2", "3", "4"], does: "a section of the collection: overview, memory, recall, search" },
  { keys: ["/"], does: "to the search, or to its first field" },
  { keys: ["j", "k"], does: "the next point that was found, the one before" },
  { keys: ["Ctrl", "Enter"], does: "searches, from any field of the search" },
  { keys: ["r"], does: "loads again what is shown" },
];

/** Whether those of a single key are on. */
export function areOn() {
  return localStorage.getItem(OFF) === null;
}

/** Turn them on or off, in this browser. */
export function turn(on) {
  if (on) {
    localStorage.removeItem(OFF);
  } else {
    localStorage.setItem(OFF, "1");
  }
}

/** Call what stands by a key's name in `actions`, unless something is typed. */
export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, dialog") !== null;
    const action = actions[event.key];
    if (action && areOn() && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      action();
    }
  });
}
