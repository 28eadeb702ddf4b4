// One study. Its parts are drawn anew only where what they show changed: a read that is being
// written, a chosen view and the place on the page stay when the study is updated.

import { basis } from "./basis.js";
import { bdi, h, icon, machineWords } from "./dom.js";
import { FilmViewer, counts } from "./film.js";
import { ReadForm } from "./read.js";
import { action, meanwhile, patient, sign, verdict } from "./list.js";
import { dayAndClock } from "./times.js";
import { word } from "./words.js";

const PROGRESS = ["waiting", "sending", "sent", "committed", "cancelled"];

/** The pane of one study. */
export class StudyView {
  #root;
  #tell;
  #parts = new Map();
  #films = "";

  /** `tell` has `close`, `read(uid, verdict, reason, reader)` and `withdraw(study, film)`. */
  constructor(root, tell) {
    this.#root = root;
    this.#tell = tell;
  }

  /** The UID of the study that is shown, or null. */
  uid = null;

  /** Show that no study is open. */
  nothing() {
    this.uid = null;
    this.#root.replaceChildren(h("p", { class: "choose", id: "study-title" }, icon("film"), word("choose")));
  }

  /** Show that a study is on its way. */
  opening(uid) {
    this.uid = uid;
    this.#parts = new Map();
    this.#films = "";
    this.viewer = new FilmViewer((film) => this.#look(film));
    this.form = new ReadForm((...told) => this.#tell.read(uid, ...told));
    const part = (name) => {
      const element = h("div", { class: `part part-${name}`, hidden: true });
      this.#parts.set(name, { told: null, element });
      return element;
    };
    this.#root.replaceChildren(
      h("div", { class: "study-head" }, ["title", "verdict"].map(part)),
      h("div", { class: "study-body" }, this.viewer.root,
        h("div", { class: "study-text" }, ["summary", "basis", "read", "deliveries", "withdraw"].map(part))),
    );
    this.#part("title", "", () => [
      this.#back(),
      h("h2", { id: "study-title", tabindex: "-1" }, word("opening")),
    ]);
    this.#root.scrollTop = 0;
  }

  /** Put the focus on the name of the study. */
  focus() {
    this.#root.querySelector("#study-title").focus({ preventScroll: true });
  }

  /** Show a study of `/v1/studies/UID`. */
  show(told) {
    const study = told.films.some(counts) ? told : { ...told, state: "withdrawn", decision: null };
    this.study = study;
    this.#part("title", [study.patient_name, study.patient_id, study.accession_number, study.received_at], () => [
      this.#back(),
      h("h2", { id: "study-title", tabindex: "-1" }, patient(study)),
      h("p", { class: "ids" }, this.#ids(study)),
    ]);
    this.#part("verdict", [sign(study), study.state, study.decision_text, study.action_text, study.synthetic, study.revision], () =>
      this.#verdict(study),
    );
    this.#part("summary", study.summary, () => study.summary.length === 0 ? [] : [
      h("h3", {}, word("summary")),
      h("ul", { class: "summary" }, study.summary.map((text) => h("li", {}, text))),
    ]);
    this.#part("read", study.decision !== null, () => (study.decision === null ? [] : [this.form.root]));
    this.form.show(study.read);
    this.#part("deliveries", study.deliveries, () => this.#deliveries(study.deliveries));
    const films = JSON.stringify(study.films);
    if (films !== this.#films) {
      this.#films = films;
      this.viewer.show(study.films);
    }
  }

  /** Show that a study cannot be shown. */
  refused(what, remedy) {
    this.#part("verdict", [what, remedy], () => [h("p", { class: "refused" }, what, " ", remedy)]);
  }

  // A part whose data is what it was is left alone.
  #part(name, data, build) {
    const told = JSON.stringify(data);
    const part = this.#parts.get(name);
    if (part.told === told) return;
    part.told = told;
    const { element } = part;
    const hadFocus = element.contains(document.activeElement) ? document.activeElement.id : "";
    element.replaceChildren(...build());
    element.hidden = element.childElementCount === 0;
    if (hadFocus) document.getElementById(hadFocus)?.focus({ preventScroll: true });
  }

  #back() {
    return h("button", { type: "button", class: "control back", id: "back", onclick: () => this.#tell.close() },
      h("span", { class: "flips back-arrow" }, icon("back")), icon("close"),
      h("span", { class: "to-list" }, word("back")), h("span", { class: "to-nothing" }, word("close")));
  }

  #ids(study) {
    const told = [];
    if (study.patient_name && study.patient_id) told.push([word("patient_id"), " ", bdi(study.patient_id)]);
    if (study.accession_number) told.push([word("accession"), " ", bdi(study.accession_number)]);
    told.push([word("received"), " ", h("time", { datetime: study.received_at }, dayAndClock(study.received_at))]);
    return told.map((part) => h("span", {}, part));
  }

  #verdict(study) {
    const parts = [
      h("div", { class: `decision is-${sign(study)}` },
        icon(sign(study)),
        h("p", { class: "verdict" }, verdict(study)),
        sign(study) === study.decision && study.action_text ? h("p", {}, action(study)) : [],
      ),
    ];
    const more = meanwhile(study);
    if (more !== null) parts.push(h("p", { class: "remark" }, icon("checking"), more));
    if (study.synthetic) parts.push(h("p", { class: "remark" }, word("notice.synthetic")));
    if (study.revision > 1) parts.push(h("p", { class: "remark" }, word("revision", { number: study.revision })));
    return parts;
  }

  // Everything beside the picture that belongs to one film.
  #look(film) {
    this.#part("basis", film ?? null, () => {
      if (film === undefined) return [];
      const parts = basis(film);
      const degraded = film.degraded.map((what) =>
        h("p", { class: "remark degraded" }, icon("warning"), h("span", {}, word("degraded"), " ", machineWords(what))));
      if (parts.length === 0 && degraded.length === 0) return [];
      return [h("h3", {}, word(this.study.films.length > 1 ? "basis_of_view" : "basis")), ...degraded, ...parts];
    });
    this.#part("withdraw", film ? [film.sop_instance_uid, film.state] : null, () => {
      if (film === undefined || !counts(film)) return [];
      return [h("button", { type: "button", class: "control", id: "withdraw-open",
        onclick: () => this.#tell.withdraw(this.study, film) }, word("withdraw"))];
    });
  }

  // Of everything that goes to a destination, what is least far.
  #deliveries(deliveries) {
    if (deliveries.length === 0) return [];
    const least = new Map();
    for (const one of deliveries) {
      const other = least.get(one.destination);
      if (other === undefined || PROGRESS.indexOf(one.state) < PROGRESS.indexOf(other.state)) least.set(one.destination, one);
    }
    const told = ({ destination, state, error }) =>
      h("li", {}, h("strong", {}, bdi(destination)), ": ", word(`delivery_${state}`),
        state === "waiting" && error ? [" ", machineWords(error)] : []);
    return [h("h3", {}, word("deliveries")), h("ul", { class: "deliveries" }, [...least.values()].map(told))];
  }
}
