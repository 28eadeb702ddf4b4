// Taking a film back: who, why, and a second look before it is done.

import { at, h } from "./dom.js";
import { counts, viewName } from "./film.js";
import { patient, standingSentence } from "./list.js";
import { word } from "./words.js";

const REASONS = ["quality", "patient-safety", "worklist"];

/** Ask for person and reason; `send(film, person, reason)` resolves once a film is withdrawn. */
export function askToWithdraw(study, film, send) {
  const dialog = at("withdraw");
  const person = h("input", { id: "withdraw-person", class: "control", required: true, maxlength: "100", autocomplete: "off" });
  const others = study.films.filter(counts);
  const all = h("input", { type: "checkbox", id: "withdraw-all" });
  const said = h("p", { class: "refused", role: "alert" });
  const reasons = REASONS.map((reason) =>
    h("label", { class: "control choice" },
      h("input", { type: "radio", name: "reason", value: reason, required: true }),
      h("span", {}, word(`withdraw_${reason.replace("-", "_")}`))));

  async function confirmed(event) {
    event.preventDefault();
    const reason = new FormData(form).get("reason");
    try {
      for (const one of all.checked ? others : [film]) await send(one, person.value.trim(), reason);
      dialog.close();
    } catch (error) {
      said.textContent = `${error.message}. ${error.remedy ?? ""}`;
    }
  }

  const form = h("form", { onsubmit: confirmed },
    standingSentence(),
    h("h2", { id: "withdraw-title" }, word("withdraw_title")),
    h("p", { class: "whose" }, patient(study), " · ", viewName(film, study.films.indexOf(film) + 1)),
    h("p", {}, word("withdraw_means")),
    h("fieldset", {}, h("legend", {}, word("withdraw_reason")), reasons),
    others.length > 1 ? h("label", { class: "control choice" }, all, h("span", {}, word("withdraw_all", { count: others.length }))) : [],
    h("label", { for: "withdraw-person" }, word("withdraw_person")), person, said,
    h("div", { class: "ends" },
      h("button", { type: "button", class: "control", onclick: () => dialog.close() }, word("withdraw_keep")),
      h("button", { class: "control strong" }, word("withdraw_confirm"))));
  dialog.replaceChildren(form);
  dialog.showModal();
}
