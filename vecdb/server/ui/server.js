// The server: what is asked of it, with the user's key, and how it refuses.

import { parse } from "./json.js";

const ROOT = new URL("../", document.baseURI); // the page is at ui/ of it
const KEY = "vecdb-api-key";

/** A request without an answer. `status` 0: the server was not reached. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

let askForKey = async () => false;
let asking = null;

/** Say what to do when a key is needed: a function that resolves to whether there is a new one. */
export function whenKeyIsNeeded(ask) {
  askForKey = ask;
}

/** The user's key, which this tab alone knows, until it is closed. */
export function key() {
  return sessionStorage.getItem(KEY) ?? "";
}

/** Keep a key; an empty one is forgotten. */
export function keepKey(text) {
  if (text) {
    sessionStorage.setItem(KEY, text);
  } else {
    sessionStorage.removeItem(KEY);
  }
}

/** The path of a collection, or of something in it. */
export function pathOf(name, ...rest) {
  return ["collections", name, ...rest].map(encodeURIComponent).join("/");
}

/** What a path holds. Throws Refused, and AbortError. */
export function get(path, signal) {
  return ask("GET", path, undefined, signal);
}

/** What the server says to a body, which is JSON text. Throws Refused, and AbortError. */
export function post(path, body, signal) {
  return ask("POST", path, body, signal);
}

async function ask(method, path, body, signal) {
  for (;;) {
    const used = key();
    const response = await send(method, path, body, signal, used);
    const text = await response.text();
    if (response.ok) {
      return parse(text);
    }
    if (response.status !== 401) {
      throw new Refused(response.status, reason(text) || response.statusText);
    }
    if (key() !== used) {
      continue; // there is another meanwhile
    }
    asking ??= askForKey(used !== "").finally(() => (asking = null)); // once for all who wait
    if (!(await asking)) {
      throw new Refused(401, text);
    }
    signal?.throwIfAborted();
  }
}

async function send(method, path, body, signal, used) {
  const headers = new Headers();
  if (used) {
    headers.set("api-key", used);
  }
  if (body !== undefined) {
    headers.set("content-type", "application/json");
  }
  try {
    return await fetch(new URL(path, ROOT), { method, headers, body, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    throw new Refused(0, "The server does not answer.");
  }
}

/** What it says after the words that programs look for. */
function reason(text) {
  try {
    return parse(text).status.error;
  } catch {
    return text;
  }
}
