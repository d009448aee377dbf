// Figures: numbers in the words of a reader.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const WHOLE = new Intl.NumberFormat("en-US");

/** 15,728,640 is "15.0 MiB". */
export function bytes(number) {
  let unit = 0;
  let figure = number;
  while (figure >= 1024 && unit < UNITS.length - 1) {
    figure /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${figure} B` : `${figure.toFixed(figure < 100 ? 1 : 0)} ${UNITS[unit]}`;
}

/** 5000 is "5,000". */
export function count(number) {
  return WHOLE.format(number);
}

/** 5000 of "point" are "5,000 points". */
export function counted(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** 0.00123 seconds are "1.2 ms". */
export function seconds(number) {
  return number < 1 ? `${(number * 1000).toFixed(number < 0.1 ? 1 : 0)} ms` : `${number.toFixed(1)} s`;
}

/** A segment's id without the zeros before it. */
export function shortId(id) {
  return id.replace(/^0+(?=.)/, "");
}

/** What a vector's name is called. */
export function vectorName(name) {
  return name === "" ? "unnamed" : name;
}
