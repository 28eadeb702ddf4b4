// One quiet line: queue, network, disk, battery. What needs a hand says so in words.

import { bdi, h, icon, machineWords } from "./dom.js";
import { amount, bytes, duration } from "./times.js";
import { word } from "./words.js";

const BATTERY_LOW_PERCENT = 20;
const HOT_C = 80;
const WAITING = ["received", "screening", "failed"];

/** The parts of the line, of `/v1/status`. */
export function quietLine(status) {
  const parts = [
    degraded(status),
    drift(status),
    queue(status),
    ...network(status),
    disk(status.disk),
    power(status.battery),
    heat(status.temperature_c),
  ];
  return parts.filter((one) => one !== null);
}

function part(sign, trouble, ...words) {
  const kind = trouble ? "fact trouble" : "fact";
  return h("span", { class: kind }, icon(trouble ? "warning" : sign), h("span", {}, ...words));
}

function degraded({ degraded: what }) {
  if (what.length === 0) return null;
  return part("warning", true, word("degraded"), " ", machineWords(what.join("; ")));
}

// What changed about films, and what to do: the unit has the words, in the language of the page. The
// whole of it is in `osteoedge drift show`; a line that fills the screen would not be read.
function drift({ drift: found }) {
  if (found === null || found.alarms.length === 0) return null;
  const [{ text, action_text: action }, ...others] = found.alarms;
  const more = others.length === 0 ? "" : ` · ${word("news_more", { count: others.length })}`;
  return part("warning", true, text, " · ", action, more);
}

function queue({ films, oldest_waiting_s: oldest, quarantined }) {
  const aside = quarantined === 0 ? "" : ` · ${word("queue_aside", { count: quarantined })}`;
  const count = WAITING.reduce((sum, state) => sum + (films[state] ?? 0), 0);
  if (count === 0) return part("queue", false, word("queue_empty"), aside);
  return part("queue", false, word("queue", { count, time: duration(oldest ?? 0) }), aside);
}

function network({ destinations }) {
  const named = Object.entries(destinations);
  if (named.length === 0) return [part("network", false, word("network_none"))];
  return named.map(([name, { waiting, sending, last_error: error }]) => {
    const count = waiting + sending;
    const told = count === 0 ? word("network_sent") : word("network_waiting", { count });
    const failed = error === null ? "" : ` · ${word("network_error")}`;
    return part("network", error !== null, bdi(name), ": ", told, failed);
  });
}

function disk({ free, reserve }) {
  const full = free < 2 * reserve;
  return part("disk", full, word(full ? "disk_nearly_full" : "disk", { free: bytes(free) }));
}

function power(battery) {
  if (battery === null) return null;
  const low = battery.percent <= BATTERY_LOW_PERCENT && battery.status !== "Charging";
  const key = battery.status === "Charging" ? "battery_charging" : low ? "battery_low" : "battery";
  return part("battery", low, word(key, { percent: amount(battery.percent, "percent") }));
}

function heat(degrees) {
  if (degrees === null || degrees < HOT_C) return null;
  return part("heat", true, word("hot", { degrees: amount(Math.round(degrees), "celsius") }));
}
