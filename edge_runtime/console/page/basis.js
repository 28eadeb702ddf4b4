// What a film's decision rests on: figures against their thresholds, what was known, what was not.

import { h, machineWords } from "./dom.js";
import { listed, percent } from "./times.js";
import { known, word } from "./words.js";

/** The parts of a film's basis, in the order of their weight; none where it has no result. */
export function basis(film) {
  return film.decision === null ? [] : [figures(film), facts(film), machine(film)];
}

function figures(film) {
  // Of a film that could not be checked, a low figure would sound like an all-clear.
  if (film.decision === "unable") return h("p", {}, word("figures_unable"));
  if (film.probabilities === null) return h("p", {}, word("figures_not_told"));
  const scores = { tumour: film.tumour_probability, malignant: film.probabilities.malignant };
  const points = film.operating_points.filter((point) => point.score in scores);
  const told = points.map((point) => score(point, scores[point.score]));
  return h("ul", { class: "scores" }, told);
}

function score(point, value) {
  const reached = value >= point.threshold;
  const fill = h("span", { class: "fill" });
  const cut = h("span", { class: "cut" });
  fill.style.inlineSize = `${100 * value}%`;
  cut.style.insetInlineStart = `${100 * point.threshold}%`;
  const values = { score: percent(value), threshold: percent(point.threshold) };
  return h(
    "li",
    {},
    h("span", { class: "score-name" }, word(`score_${point.score}`)),
    h("span", { class: reached ? "scale reached" : "scale", "aria-hidden": "true" }, fill, cut),
    h("span", { class: "score-told" }, word(reached ? "score_reached" : "score_below", values)),
  );
}

function facts({ context, out_of_distribution: familiarity, quality }) {
  const rows = [];
  const row = (label, told) => rows.push(h("dt", {}, word(label)), h("dd", {}, told));
  if (context?.used.length > 0) row("context_used", factNames(context.used));
  if (context?.missing.length > 0) row("context_missing", factNames(context.missing));
  if (familiarity !== null) row("familiarity", word(`familiarity_${familiarity.status}`));
  row("quality", word(qualityKey(quality)));
  return h("dl", { class: "facts-of" }, rows);
}

function factNames(names) {
  const told = (name) => (known(`context_${name}`) ? word(`context_${name}`) : name);
  return listed(names.map(told));
}

function qualityKey(findings) {
  if (findings.some((finding) => finding.refuses)) return "quality_refuses";
  return findings.length > 0 ? "quality_remarks" : "quality_fit";
}

function machine({ screening, sop_instance_uid: uid }) {
  const { bundle, delegate, software, timings_ms: timings } = screening;
  const rows = [
    ["machine_bundle", `${bundle.name} ${bundle.version}`],
    ["machine_site", bundle.site?.name],
    ["machine_delegate", `${delegate.name} (${delegate.version})`],
    ["machine_software", software],
    ["machine_time", "total" in timings ? `${Math.round(timings.total)} ms` : undefined],
    ["machine_film", uid],
  ];
  const told = rows
    .filter(([, value]) => value !== undefined)
    .flatMap(([label, value]) => [h("dt", {}, word(label)), h("dd", {}, machineWords(value))]);
  return h(
    "details",
    {},
    h("summary", {}, word("machine")),
    h("dl", { class: "facts-of" }, told),
  );
}
