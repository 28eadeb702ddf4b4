// One study. Its parts are drawn anew only where what they show changed: a read that is being
// written, a chosen view and the place on the page stay when the study is updated.

import { basis } from "./basis.js";
import { deliveryList } from "./deliveries.js";
import { bdi, button, h, icon, machineWords } from "./dom.js";
import { FilmViewer, counts } from "./film.js";
import { ReadForm } from "./read.js";
import { dayAndClock } from "./times.js";
import { action, meanwhile, patient, sign, verdict } from "./told.js";
import { word } from "./words.js";

const OF_THE_HEAD = ["title", "verdict"];
const BESIDE_THE_FILM = ["summary", "basis", "read", "deliveries", "withdraw"];

/** The pane of one study. */
export class StudyView {
  /** The UID of the study that is shown, or null. */
  uid = null;

  #root;
  #tell;
  #parts = new Map();
  #study = null;
  #films = "";
  #viewer = null;
  #form = null;

  /** `tell` has `close`, `read(uid, verdict, reason, reader)` and `withdraw(study, film)`. */
  constructor(root, tell) {
    this.#root = root;
    this.#tell = tell;
  }

  /** Show that no study is open. */
  nothing() {
    this.uid = null;
    const told = h("p", { class: "choose", id: "study-title" }, icon("film"), word("choose"));
    this.#root.replaceChildren(told);
  }

  /** Show that a study is on its way. */
  opening(uid) {
    this.uid = uid;
    this.#parts = new Map();
    this.#films = "";
    this.#viewer = new FilmViewer((film) => this.#look(film));
    this.#form = new ReadForm((...told) => this.#tell.read(uid, ...told));
    const part = (name) => {
      const element = h("div", { class: `part part-${name}`, hidden: true });
      this.#parts.set(name, { told: null, element });
      return element;
    };
    const head = h("div", { class: "study-head" }, OF_THE_HEAD.map(part));
    const text = h("div", { class: "study-text" }, BESIDE_THE_FILM.map(part));
    const body = h("div", { class: "study-body" }, this.#viewer.root, text);
    this.#root.replaceChildren(head, body);
    this.#part("title", null, () => [this.#back(), title(word("opening"))]);
    this.#root.scrollTop = 0;
  }

  /** Put the focus on the name of the study. */
  focus() {
    this.#root.querySelector("#study-title").focus({ preventScroll: true });
  }

  /** Show a study of `/v1/studies/UID`. */
  show(told) {
    const left = told.films.some(counts);
    const study = left ? told : { ...told, state: "withdrawn", decision: null };
    const { patient_name: name, patient_id: id, accession_number: accession } = study;
    this.#study = study;
    this.#part("title", [name, id, accession, study.received_at], () => [
      this.#back(),
      title(patient(study)),
      h("p", { class: "ids" }, ids(study)),
    ]);
    const { films, summary, deliveries, ...facts } = study;
    this.#part("verdict", facts, () => decision(study));
    this.#part("summary", summary, () => section("summary", summary, () => summaryList(summary)));
    this.#part("read", study.decision !== null, () =>
      study.decision === null ? [] : [this.#form.root],
    );
    this.#form.show(study.read);
    this.#part("deliveries", deliveries, () =>
      section("deliveries", deliveries, () => deliveryList(deliveries)),
    );
    if (JSON.stringify(films) !== this.#films) {
      this.#films = JSON.stringify(films);
      this.#viewer.show(films);
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
    const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
    element.replaceChildren(...build());
    element.hidden = element.childElementCount === 0;
    if (focused !== "") document.getElementById(focused)?.focus({ preventScroll: true });
  }

  #back() {
    return button(
      "back",
      () => this.#tell.close(),
      { id: "back" },
      h("span", { class: "flips back-arrow" }, icon("back")),
      icon("close"),
      h("span", { class: "to-list" }, word("back")),
      h("span", { class: "to-nothing" }, word("close")),
    );
  }

  // Everything beside the picture that belongs to the film that is looked at.
  #look(film) {
    const several = this.#study.films.length > 1;
    this.#part("basis", film, () =>
      section(several ? "basis_of_view" : "basis", basis(film), () => [
        ...film.degraded.map(limitation),
        ...basis(film),
      ]),
    );
    const ask = () => this.#tell.withdraw(this.#study, film);
    this.#part("withdraw", [film.sop_instance_uid, film.state], () =>
      counts(film) ? [button("", ask, { id: "withdraw-open" }, word("withdraw"))] : [],
    );
  }
}

function title(...told) {
  return h("h2", { id: "study-title", tabindex: "-1" }, ...told);
}

// A heading and what is below it; nothing where there is nothing to be told.
function section(heading, data, build) {
  return data.length === 0 ? [] : [h("h3", {}, word(heading)), ...[build()].flat()];
}

function summaryList(summary) {
  return h("ul", { class: "summary" }, summary.map((text) => h("li", {}, text)));
}

function ids({ patient_name: name, patient_id: id, accession_number: accession, received_at: at }) {
  const told = [[word("received"), " ", h("time", { datetime: at }, dayAndClock(at))]];
  if (accession) told.unshift([word("accession"), " ", bdi(accession)]);
  // Without a name, the ID stands in its place.
  if (name && id) told.unshift([word("patient_id"), " ", bdi(id)]);
  return told.map((part) => h("span", {}, part));
}

function decision(study) {
  const acts = sign(study) === study.decision && study.action_text;
  const banner = h(
    "div",
    { class: `decision is-${sign(study)}` },
    icon(sign(study)),
    h("p", { class: "verdict" }, verdict(study)),
    acts ? h("p", {}, action(study)) : [],
  );
  const remarks = [
    meanwhile(study),
    study.synthetic ? word("notice.synthetic") : null,
    study.revision > 1 ? word("revision", { number: study.revision }) : null,
  ];
  const told = remarks.filter((remark) => remark !== null);
  return [banner, ...told.map((remark) => h("p", { class: "remark" }, remark))];
}

function limitation(what) {
  const told = h("span", {}, word("degraded"), " ", machineWords(what));
  return h("p", { class: "remark degraded" }, icon("warning"), told);
}
