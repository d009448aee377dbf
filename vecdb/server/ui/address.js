// Address: which part of the page is meant by what follows "#" in its address.

/** The address of a collection's section. */
export function addressOf(name, section, options = {}) {
  const query = new URLSearchParams(options).toString();
  const path = [name, section].filter(Boolean).map(encodeURIComponent).join("/");
  return `#/${path}${query && `?${query}`}`;
}

/** The parts of an address: without a name all collections are meant. */
export function readAddress(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [name, section = ""] = path.split("/").map(decoded);
  return { name, section, options: new URLSearchParams(query) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // somebody typed it
  }
}
