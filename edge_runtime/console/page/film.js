// The films of a study: which view, the picture, and what is marked on it.

import { picture } from "./api.js";
import { at, button, drawn, h, icon } from "./dom.js";
import { percent } from "./times.js";
import { standingSentence } from "./told.js";
import { word } from "./words.js";

const WIDTH = 1000;
const LARGE = 2000;

const SIDES = { L: "side.left", R: "side.right", B: "side.both" };

/** What a view is called: the side and the projection, as far as the film says them. */
export function viewName(film, number) {
  const side = film.laterality in SIDES ? word(SIDES[film.laterality]) : null;
  return [word("view_number", { number }), film.view, side].filter(Boolean).join(" · ");
}

const SIGNS = { received: "waiting", failed: "waiting", screening: "checking" };

function sign(film) {
  return counts(film) ? (film.decision ?? SIGNS[film.state] ?? "untold") : film.state;
}

/** Whether a film still counts for its study. */
export function counts(film) {
  return film.state !== "superseded" && film.state !== "withdrawn";
}

/** The viewer: it keeps the chosen film and the overlay while the study is updated. */
export class FilmViewer {
  #chosen = null;
  #marked = true;
  #shown = { content: "", box: null };
  #onChoose;

  /** `onChoose` is called with the film that is looked at. */
  constructor(onChoose) {
    this.root = h("div", { class: "films" });
    this.#onChoose = onChoose;
  }

  /** Show the films of `/v1/studies/UID`, one or more. */
  show(films) {
    const uids = films.map((film) => film.sop_instance_uid);
    if (!uids.includes(this.#chosen)) {
      this.#chosen = (films.find(counts) ?? films[0]).sop_instance_uid;
    }
    const film = films.find((one) => one.sop_instance_uid === this.#chosen);
    const { activeElement } = document;
    const focused = this.root.contains(activeElement) ? activeElement.dataset.key : undefined;
    this.root.replaceChildren(
      ...(films.length > 1 ? [this.#views(films)] : []),
      this.#stage(film),
      this.#switch(film, films),
    );
    if (focused !== undefined) {
      const again = this.root.querySelector(`[data-key="${CSS.escape(focused)}"]`);
      again?.focus({ preventScroll: true });
    }
    this.#onChoose(film);
  }

  #views(films) {
    const one = (film, index) =>
      h(
        "button",
        {
          type: "button",
          class: `view is-${sign(film)}`,
          "data-key": film.sop_instance_uid,
          "aria-pressed": String(film.sop_instance_uid === this.#chosen),
          onclick: () => {
            this.#chosen = film.sop_instance_uid;
            this.show(films);
          },
        },
        h("span", { class: "view-name" }, viewName(film, index + 1)),
        h("span", { class: "view-sign" }, icon(sign(film)), standing(film)),
      );
    return h("div", { class: "views", role: "group", "aria-label": word("views") }, films.map(one));
  }

  #stage(film) {
    // Decoding a film is work for the unit: what is shown already is not asked for again.
    const content = `${film.sop_instance_uid} ${film.received_at}`;
    if (this.#shown.content !== content) this.#shown = { content, box: imageBox(film, WIDTH) };
    const label = { "data-key": "enlarge", "aria-label": word("enlarge") };
    const enlarge = button("square enlarge", () => this.#enlarge(film), label, icon("enlarge"));
    return h("div", { class: "stage" }, this.#shown.box, this.#marks(film), enlarge);
  }

  #enlarge(film) {
    const dialog = at("large");
    const close = button("", () => dialog.close(), {}, icon("close"), word("close"));
    dialog.setAttribute("aria-label", filmName(film));
    dialog.replaceChildren(
      h("div", { class: "bar" }, standingSentence(), close),
      h("div", { class: "stage" }, imageBox(film, LARGE), this.#marks(film)),
    );
    dialog.showModal();
  }

  #marks(film) {
    const measured = film.rows !== null && film.columns !== null;
    return this.#marked && film.lesions.length > 0 && measured ? boxes(film) : null;
  }

  #switch(film, films) {
    // Of a film that could not be checked, "nothing is marked" would say too much.
    if (film.decision === null || film.decision === "unable") return "";
    if (film.lesions.length === 0) {
      const why = film.probabilities === null ? "marks_not_told" : "marks_none";
      return h("p", { class: "marks" }, word(why));
    }
    const turn = () => {
      this.#marked = !this.#marked;
      this.show(films);
    };
    const state = { "data-key": "toggle", "aria-pressed": String(this.#marked) };
    const knob = h("span", { class: "knob", "aria-hidden": "true" });
    const toggle = button("toggle", turn, state, knob, word("marks_show"));
    const list = film.lesions.map((lesion, index) =>
      h("li", {}, word("mark", { number: index + 1, score: percent(lesion.score) }), size(lesion)),
    );
    return h("div", { class: "marks" }, toggle, h("ul", {}, list));
  }
}

// The picture of a film, or words in its place.
function imageBox(film, width) {
  const image = h("img", { class: "film", src: picture(film, width), alt: filmName(film) });
  const box = h("div", { class: "film" }, image);
  image.addEventListener("error", () => {
    box.replaceChildren(h("p", { class: "no-film" }, word("film_not_shown")));
  });
  return box;
}

function filmName(film) {
  return word("film_alt", { view: film.view ?? "" }).trim();
}

function standing(film) {
  if (film.state === "superseded") return h("span", {}, word("film_superseded"));
  if (film.state === "withdrawn") return h("span", {}, word("film_withdrawn"));
  return h("span", { class: "unseen" }, film.decision_text ?? "");
}

function size(lesion) {
  if (lesion.box_mm === null) return "";
  const [left, top, right, bottom] = lesion.box_mm;
  return ` · ${Math.round(right - left)} × ${Math.round(bottom - top)} mm`;
}

/** The boxes, in source pixels, over a picture that is fitted into the stage in the same way. */
function boxes(film) {
  // The number stands on the box, or in it where there is no room above.
  const side = Math.max(film.rows, film.columns) / 20;
  const marks = film.lesions.flatMap((lesion, index) => {
    const [left, top, right, bottom] = lesion.box;
    const place = { x: left, y: top, width: right - left, height: bottom - top };
    const label = { x: left, y: top >= side ? top - side : top, width: side, height: side };
    const middle = { x: label.x + side / 2, y: label.y + 0.78 * side };
    const number = drawn("text", { ...middle, "font-size": 0.8 * side }, String(index + 1));
    return [
      drawn("rect", { ...place, class: "halo" }),
      drawn("rect", { ...place, class: "box" }),
      drawn("rect", { ...label, class: "label" }),
      number,
    ];
  });
  const view = `0 0 ${film.columns} ${film.rows}`;
  return drawn("svg", { viewBox: view, class: "film boxes", "aria-hidden": "true" }, ...marks);
}
