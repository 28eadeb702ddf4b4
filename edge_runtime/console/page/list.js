// The day's studies, newest first. A row stays the same element as long as its study is on the
// list, so that nothing under a finger or a focus moves away when another study arrives.

import { h, icon } from "./dom.js";
import { clock } from "./times.js";
import { action, meanwhile, patient, readAs, sign, verdict } from "./told.js";
import { known, language, word } from "./words.js";

/** The mark of a decision that was made by a model of drawings. */
function syntheticMark() {
  return h("strong", { class: "synthetic" }, word("synthetic"));
}

/** The rows of the list. */
export class StudyList {
  #root;
  #onOpen;
  #rows = new Map();

  constructor(root, onOpen) {
    this.#root = root;
    this.#onOpen = onOpen;
    root.addEventListener("keydown", (event) => this.#move(event));
    root.addEventListener("focusin", (event) => this.#stopAt(event.target.closest("button")));
  }

  /** Show these lines of `/v1/studies`; `open` is the UID of the study beside the list, or null. */
  show(lines, open) {
    const before = this.#rows;
    this.#rows = new Map();
    for (const line of lines) {
      const uid = line.study_instance_uid;
      const drawnOf = language() + JSON.stringify(line);
      const row = before.get(uid) ?? { item: h("li"), drawnOf: "" };
      if (row.drawnOf !== drawnOf) {
        row.drawnOf = drawnOf;
        this.#draw(row.item, line);
      }
      this.#rows.set(uid, row);
    }
    for (const [uid, row] of before) if (!this.#rows.has(uid)) row.item.remove();
    let place = this.#root.firstElementChild;
    for (const { item } of this.#rows.values()) {
      if (item === place) place = place.nextElementSibling;
      else this.#root.insertBefore(item, place);
    }
    this.mark(open);
  }

  /** Mark the study that is open. */
  mark(open) {
    let stop = this.#root.querySelector('button[tabindex="0"]');
    for (const [uid, { item }] of this.#rows) {
      const button = item.firstElementChild;
      if (uid === open) {
        button.setAttribute("aria-current", "true");
        if (!this.#root.contains(document.activeElement)) stop = button;
      } else button.removeAttribute("aria-current");
    }
    this.#stopAt(stop ?? this.#root.querySelector("button"));
  }

  /** Put the focus on a study's row, if it is on the list. */
  focus(uid) {
    const row = this.#rows.get(uid);
    row?.item.firstElementChild.focus();
    return row !== undefined;
  }

  #draw(item, line) {
    const uid = line.study_instance_uid;
    const facts = [bodyParts(line), word("films", { count: line.films }), meanwhile(line)];
    const told = facts.filter(Boolean).join(" · ");
    const parts = [
      icon(sign(line)),
      h("span", { class: "who" }, patient(line)),
      h("time", { datetime: line.received_at }, clock(line.received_at)),
      h("span", { class: "verdict" }, verdict(line)),
      h("span", { class: "facts" }, told, line.synthetic ? [" ", syntheticMark()] : []),
    ];
    if (sign(line) === line.decision && line.action_text) parts.push(action(line));
    if (line.read !== null) parts.push(h("span", { class: "read" }, readAs(line.read)));
    const onclick = () => this.#onOpen(uid);
    const kind = `row is-${sign(line)}`;
    const row = h("button", { type: "button", tabindex: "-1", class: kind, onclick }, parts);
    const old = item.firstElementChild;
    const hadFocus = old !== null && old === document.activeElement;
    if (old?.tabIndex === 0) row.tabIndex = 0;
    item.replaceChildren(row);
    if (hadFocus) row.focus({ preventScroll: true });
  }

  // One stop of the Tab key, and arrows between the rows: 500 stops would be a wall.
  #stopAt(button) {
    if (button === null) return;
    for (const other of this.#root.querySelectorAll('button[tabindex="0"]')) other.tabIndex = -1;
    button.tabIndex = 0;
  }

  #move(event) {
    const rows = [...this.#root.querySelectorAll("button")];
    const here = rows.indexOf(document.activeElement);
    const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (here === -1 || to === undefined || rows[to] === undefined) return;
    event.preventDefault();
    rows[to].focus();
  }
}

// Body Part Examined: a word of DICOM, in capitals, or whatever a console makes of it.
function partName(part) {
  const key = `body.${part.toLowerCase().replaceAll(" ", "_")}`;
  return known(key) ? word(key) : part;
}

function bodyParts(line) {
  return line.body_parts.map((part) => (partName(part))).join(", ");
}
