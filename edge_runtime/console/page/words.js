// The labels, in the language that was chosen. The unit has them; English stands in index.html.

import { ask } from "./api.js";
import { at } from "./dom.js";

const REMEMBERED = "osteoedge.language";
let words = {};

/** The language of what is shown, a code such as "sw". */
export function language() {
  return document.documentElement.lang;
}

/**
 * A label, its {placeholders} filled. One that is missing shows its key, for nobody to overlook it.
 */
export function word(key, values = {}) {
  const label = words[key];
  if (label === undefined) return `⟦${key}⟧`;
  // Between isolates a value keeps its own direction, and the sentence around it its order.
  const [before, after] = words.direction === "rtl" ? ["\u2068", "\u2069"] : ["", ""];
  const filled = (whole, name) => (name in values ? before + values[name] + after : whole);
  return label.replace(/\{(\w+)\}/g, filled);
}

/** Whether there is a label for a word of the documents. */
export function known(key) {
  return key in words;
}

/** Load the language that this browser remembers, or else the unit's own. */
export async function loadWords() {
  const chosen = remembered();
  await load(chosen === null ? "/v1/words" : `/v1/words?lang=${encodeURIComponent(chosen)}`);
}

/** Change the language, and remember it. */
export async function chooseLanguage(code) {
  await load(`/v1/words?lang=${encodeURIComponent(code)}`);
  try {
    localStorage.setItem(REMEMBERED, code);
  } catch {
    // A browser that keeps nothing asks the unit for its language next time.
  }
}

async function load(path) {
  words = await ask(path);
  document.documentElement.lang = words.language;
  document.documentElement.dir = words.direction;
  at("language").value = words.language;
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = word(element.dataset.word);
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", word(element.dataset.label));
  }
}

function remembered() {
  try {
    return localStorage.getItem(REMEMBERED);
  } catch {
    return null;
  }
}
