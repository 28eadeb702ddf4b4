// Elements without markup in strings: what a header says of a patient is always text.

/**
 * Make an element: h("p", { class: "note" }, "text", another).
 * Attributes that are null, undefined or false are left out; `on…` are listeners.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Make a button that does something; `kind` are its classes beside `control`. */
export function button(kind, onclick, attributes, ...children) {
  const own = { type: "button", class: `control ${kind}`, onclick };
  return h("button", { ...own, ...attributes }, ...children);
}

/** Make a radio button or a checkbox, as large as a thumb. */
export function choice(input, label) {
  return h("label", { class: "control choice" }, input, h("span", {}, label));
}

const SVG = "http://www.w3.org/2000/svg";

/** Make an element of a drawing. */
export function drawn(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** One of the symbols of index.html; words beside it say the same. */
export function icon(name) {
  const use = drawn("use", { href: `#i-${name}` });
  return drawn("svg", { class: `icon icon-${name}`, "aria-hidden": "true" }, use);
}

/** Text of foreign direction, a name or a UID, that leaves the sentence around it in order. */
export function bdi(text) {
  return h("bdi", {}, text);
}

/** Words of the machine, which knows English only. */
export function machineWords(text) {
  return h("bdi", { lang: "en" }, text);
}

/** The element of index.html with this id. */
export function at(id) {
  return document.getElementById(id);
}
