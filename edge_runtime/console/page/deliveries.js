// Where what was made of a study goes, and how far it is.

import { bdi, h, machineWords } from "./dom.js";
import { word } from "./words.js";

const PROGRESS = ["waiting", "sending", "sent", "committed", "cancelled"];

/** The destinations of a study, each with what is least far of all that goes there. */
export function deliveryList(deliveries) {
  const least = new Map();
  for (const one of deliveries) {
    const other = least.get(one.destination);
    if (other === undefined || progress(one) < progress(other)) least.set(one.destination, one);
  }
  return h("ul", { class: "deliveries" }, [...least.values()].map(told));
}

function progress({ state }) {
  return PROGRESS.indexOf(state);
}

function told({ destination, state, error }) {
  const why = state === "waiting" && error !== null ? [" ", machineWords(error)] : [];
  return h("li", {}, h("strong", {}, bdi(destination)), ": ", word(`delivery_${state}`), why);
}
