// Vectors: what a collection has, by name. The unnamed one has the name "".

import { JsonError, Numeral, parse } from "./json.js";
import { vectorName } from "./figures.js";

/** Pairs of name and parameters. */
export function vectorsOf(vectors) {
  if (!vectors) {
    return [];
  }
  return typeof vectors.size === "number" ? [["", vectors]] : Object.entries(vectors);
}

/** "384 × Cosine", and the names if they have some. */
export function described(vectors) {
  const all = vectorsOf(vectors);
  const words = all.map(([name, { size, distance }]) => `${name && `${name}: `}${size} × ${distance}`);
  return words.join("; ") || "none";
}

/** The JSON of a vector that was typed or pasted: a list, or numbers with anything between them.
 * Throws Error with what is wrong with it. */
export function readVector(text, name, size) {
  const numbers = text.trimStart().startsWith("[") ? listed(text) : text.match(/[^\s,;]+/g) ?? [];
  const wrong = numbers.findIndex((number) => !isNumber(number));
  if (wrong >= 0) {
    throw new Error(`Number ${wrong + 1} is ${String(numbers[wrong]).slice(0, 20)}, which is no number.`);
  }
  if (numbers.length !== size) {
    throw new Error(`Expected ${size} numbers, as ${vectorName(name)} vectors have; got ${numbers.length}.`);
  }
  return JSON.stringify(numbers.map(Number));
}

function listed(text) {
  try {
    return parse(text);
  } catch (error) {
    throw error instanceof JsonError ? new Error(`Not a list of numbers: ${error.message}.`) : error;
  }
}

function isNumber(item) {
  if (typeof item === "string") {
    return /^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/.test(item);
  }
  return Number.isFinite(item) || item instanceof Numeral;
}
