// Times, days, amounts and lists as the chosen language writes them, in the digits of the films.

import { language } from "./words.js";

const LEAST = 0.001;
const MOST = 0.999;

function locale() {
  const code = language();
  return `${code === "en" ? "en-GB" : code}-u-nu-latn-hc-h23`;
}

/** Hour and minute; with `seconds`, these too. */
export function clock(moment, { seconds = false } = {}) {
  const style = { hour: "2-digit", minute: "2-digit", ...(seconds && { second: "2-digit" }) };
  return new Intl.DateTimeFormat(locale(), style).format(new Date(moment));
}

/** A day such as "Sunday 22 November" of a date as the API writes it, "2026-11-22". */
export function dayInWords(day) {
  const style = { weekday: "long", day: "numeric", month: "long" };
  return new Intl.DateTimeFormat(locale(), style).format(new Date(`${day}T12:00:00`));
}

/** Day and time. */
export function dayAndClock(moment) {
  const style = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
  return new Intl.DateTimeFormat(locale(), style).format(new Date(moment));
}

/** The local date of a moment, as the API writes it. */
export function dayOf(moment) {
  const date = new Date(moment);
  const two = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** The day that lies `days` after a day. */
export function shifted(day, days) {
  const date = new Date(`${day}T12:00:00`);
  date.setDate(date.getDate() + days);
  return dayOf(date);
}

/** A length of time in its largest whole unit. */
export function duration(seconds) {
  if (seconds < 60) return amount(Math.round(seconds), "second");
  if (seconds < 3600) return amount(Math.round(seconds / 60), "minute");
  return amount(Math.round(seconds / 3600), "hour");
}

/** Bytes, in gigabytes from one on. */
export function bytes(number) {
  if (number < 1e9) return amount(Math.round(number / 1e6), "megabyte");
  return amount(number / 1e9, "gigabyte");
}

/** A number with a unit of ECMA-402. */
export function amount(number, unit) {
  const style = { style: "unit", unit, unitDisplay: "short" };
  const digits = { maximumFractionDigits: number < 10 ? 1 : 0 };
  return new Intl.NumberFormat(locale(), { ...style, ...digits }).format(number);
}

/** A probability as the summary tells it: in percent, and never as certainty. */
export function percent(probability) {
  const style = { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 };
  const bound = probability < LEAST ? "<" : probability > MOST ? ">" : "";
  const told = Math.min(Math.max(probability, LEAST), MOST);
  return bound + new Intl.NumberFormat(locale(), style).format(told);
}

/** Several words as the language lists them. */
export function listed(words) {
  return new Intl.ListFormat(locale(), { type: "conjunction" }).format(words);
}
