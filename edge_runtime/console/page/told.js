// How a study is told: the same on the list, beside its film and in a notice.

import { bdi, h, icon } from "./dom.js";
import { word } from "./words.js";

/**
 * The sign of a study: its decision, or how far it is. While another film of it is checked a
 * decision stands, unless it is the one that calls nobody.
 */
export function sign(line) {
  if (line.state === "done") return line.decision ?? "untold";
  return line.decision === null || line.decision === "not_flagged" ? line.state : line.decision;
}

/** What a study comes to, in words. */
export function verdict(line) {
  return sign(line) === line.decision ? line.decision_text : word(`state_${sign(line)}`);
}

/** Says that a decision stands while more films are checked; null where that is not so. */
export function meanwhile(line) {
  return line.state === "done" || sign(line) !== line.decision ? null : word("state_more");
}

/** What no dialog may hide. */
export function standingSentence() {
  return h("p", { class: "standing" }, word("notice.standing"));
}

/** What somebody said of the decision, in words. */
export function readAs(verdict) {
  return word("read_as", { verdict: word(`verdict_${verdict}`) });
}

/** How patients are told apart on the page; a film may say neither name nor number. */
export function patient(line) {
  return bdi(line.patient_name || line.patient_id || word("patient_unknown"));
}

/** What is to be done, with the sign of a retake where the film is to be taken again. */
export function action(line) {
  const again = line.decision === "unable";
  const told = h("span", {}, line.action_text);
  return h("span", { class: again ? "action again" : "action" }, again ? icon("retake") : [], told);
}
