// JSON: read without rounding, with the place of a mistake, and written back as it came.
//
// JSON.parse makes every number a double, so that an id beyond 2^53 comes back as another, and 1.0
// as 1, which a filter tells apart. Nor does it say where in a text the mistake is.

/** A number that a double would write in another way. */
export class Numeral {
  constructor(text) {
    this.text = text;
  }

  toString() {
    return this.text;
  }
}

/** A text that is not JSON: what is wrong, and where. Lines and columns begin with 1. */
export class JsonError extends Error {
  constructor(problem, text, at) {
    const before = text.slice(0, at).split("\n");
    const line = before.length;
    const column = before[line - 1].length + 1;
    super(`line ${line}, column ${column}: ${problem}`);
    this.at = at;
  }
}

const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?/y;
const WORD = /[A-Za-z_]+/y;
const WORDS = new Map([
  ["true", true],
  ["false", false],
  ["null", null],
]);

/** The value of a JSON text. Objects have no prototype, so that any key is like any other. Throws
 * JsonError. */
export function parse(text) {
  const reader = new Reader(text);
  const value = reader.value();
  if (reader.at < text.length) {
    reader.fail("expected nothing more");
  }
  return value;
}

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.match(SPACE);
  }

  value() {
    const first = this.text[this.at];
    if (first === "{") {
      return this.object();
    }
    if (first === "[") {
      return this.list();
    }
    if (first === '"') {
      return this.string();
    }
    const number = this.match(NUMBER);
    if (number) {
      this.match(SPACE);
      return String(Number(number)) === number ? Number(number) : new Numeral(number);
    }
    const start = this.at;
    const word = this.match(WORD);
    if (!WORDS.has(word)) {
      this.fail("expected a value", start);
    }
    this.match(SPACE);
    return WORDS.get(word);
  }

  object() {
    const found = Object.create(null);
    this.take("{");
    while (this.text[this.at] !== "}") {
      if (this.text[this.at] !== '"') {
        this.fail('expected a key in double quotes, or "}"');
      }
      const key = this.string();
      this.take(":");
      found[key] = this.value();
      this.next("}");
    }
    this.take("}");
    return found;
  }

  list() {
    const found = [];
    this.take("[");
    while (this.text[this.at] !== "]") {
      found.push(this.value());
      this.next("]");
    }
    this.take("]");
    return found;
  }

  string() {
    let end = this.at;
    do {
      end = this.text.indexOf('"', end + 1);
      if (end < 0) {
        this.fail("expected this string to end with a quote", this.at);
      }
    } while (isEscaped(this.text, end));
    const quoted = this.text.slice(this.at, end + 1);
    let found;
    try {
      found = JSON.parse(quoted);
    } catch {
      this.fail("expected a string without line breaks or unknown escapes", this.at);
    }
    this.at = end + 1;
    this.match(SPACE);
    return found;
  }

  /** A comma before another item, or the end. */
  next(end) {
    if (this.text[this.at] === end) {
      return;
    }
    const comma = this.at;
    if (this.text[comma] !== ",") {
      this.fail(`expected "," or "${end}"`);
    }
    this.take(",");
    if (this.text[this.at] === end) {
      this.fail(`expected another item after "," or none`, comma);
    }
  }

  take(character) {
    if (this.text[this.at] !== character) {
      this.fail(`expected "${character}"`);
    }
    this.at += 1;
    this.match(SPACE);
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0] ?? "";
    this.at += found.length;
    return found;
  }

  fail(problem, at = this.at) {
    const [found] = this.text.slice(at, at + 2);
    throw new JsonError(`${problem}, found ${found ? `"${found}"` : "the end"}`, this.text, at);
  }
}

function isEscaped(text, quote) {
  let slash = quote;
  while (text[slash - 1] === "\\") {
    slash -= 1;
  }
  return (quote - slash) % 2 === 1;
}

/** A value as JSON text, in lines where it is longer than one; a list of plain values is one. */
export function format(value, indent = "") {
  const flat = write(value);
  if (flat.length + indent.length <= 60 || isPlain(value)) {
    return flat;
  }
  const inner = `${indent}  `;
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value)
    ? value.map((item) => format(item, inner))
    : Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${format(item, inner)}`);
  return `${open}\n${items.map((item) => inner + item).join(",\n")}\n${indent}${close}`;
}

function isPlain(value) {
  return Array.isArray(value) ? value.every((item) => !isComposed(item)) : !isComposed(value);
}

/** Whether a value is a list or an object. */
export function isComposed(value) {
  return value !== null && typeof value === "object" && !(value instanceof Numeral);
}

function write(value) {
  if (value instanceof Numeral) {
    return value.text;
  }
  if (Array.isArray(value)) {
    return `[${value.map(write).join(", ")}]`;
  }
  if (isComposed(value)) {
    const items = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${write(item)}`);
    return items.length ? `{ ${items.join(", ")} }` : "{}";
  }
  return JSON.stringify(value);
}

/** An object of fields that are JSON texts already; those that are undefined are left out. */
export function objectOf(fields) {
  const given = Object.entries(fields).filter(([, text]) => text !== undefined);
  return `{${given.map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(",")}}`;
}
