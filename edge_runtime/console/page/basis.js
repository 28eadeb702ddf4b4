// What a film's decision rests on: figures against their thresholds, what was known, what was not.

import { h, machineWords } from "./dom.js";
import { listed, percent } from "./times.js";
import { known, word } from "./words.js";

/** The parts of a film's basis, in the order of their weight. */
export function basis(film) {
  return [figures(film), ...facts(film), machine(film)].filter((part) => part !== null);
}

function figures(film) {
  if (film.decision === null) return null;
  if (film.decision === "unable") return h("p", {}, word("figures_unable"));
  if (film.probabilities === null) return h("p", {}, word("figures_not_told"));
  const scores = { tumour: film.tumour_probability, malignant: film.probabilities.malignant };
  const points = film.operating_points.filter((point) => point.score in scores);
  return h("ul", { class: "scores" }, points.map((point) => score(point, scores[point.score])));
}

function score(point, value) {
  const reached = value >= point.threshold;
  const bar = h("span", { class: reached ? "scale reached" : "scale", "aria-hidden": "true" }, h("span", { class: "fill" }), h("span", { class: "cut" }));
  bar.firstElementChild.style.inlineSize = `${100 * value}%`;
  bar.lastElementChild.style.insetInlineStart = `${100 * point.threshold}%`;
  const told = word(reached ? "score_reached" : "score_below", { score: percent(value), threshold: percent(point.threshold) });
  return h("li", {}, h("span", { class: "score-name" }, word(`score_${point.score}`)), bar, h("span", { class: "score-told" }, told));
}

function facts(film) {
  const rows = [];
  const row = (label, ...told) => rows.push(h("dt", {}, word(label)), h("dd", {}, ...told));
  const names = (list) => listed(list.map((name) => (known(`context_${name}`) ? word(`context_${name}`) : name)));
  if (film.decision === null) return [];
  const { used, missing } = film.context ?? { used: [], missing: [] };
  if (used.length > 0) row("context_used", names(used));
  if (missing.length > 0) row("context_missing", names(missing));
  if (film.out_of_distribution !== null) row("familiarity", word(`familiarity_${film.out_of_distribution.status}`));
  const refuses = film.quality.some((finding) => finding.refuses);
  row("quality", word(refuses ? "quality_refuses" : film.quality.length > 0 ? "quality_remarks" : "quality_fit"));
  return [h("dl", { class: "facts-of" }, rows)];
}

function machine(film) {
  if (film.screening === null) return null;
  const { bundle, delegate, software, timings_ms: timings } = film.screening;
  const rows = [
    ["machine_bundle", `${bundle.name} ${bundle.version}`],
    ["machine_site", bundle.site?.name],
    ["machine_delegate", `${delegate.name} (${delegate.version})`],
    ["machine_software", software],
    ["machine_time", timings.total === undefined ? null : `${Math.round(timings.total)} ms`],
    ["machine_film", film.sop_instance_uid],
  ];
  const told = rows
    .filter(([, value]) => value !== null && value !== undefined)
    .flatMap(([label, value]) => [h("dt", {}, word(label)), h("dd", {}, machineWords(value))]);
  return h("details", {}, h("summary", {}, word("machine")), h("dl", { class: "facts-of" }, told));
}
