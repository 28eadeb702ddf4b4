// Taking a film back: who, why, and a second look before it is done.

import { at, button, choice, h } from "./dom.js";
import { counts, viewName } from "./film.js";
import { patient, standingSentence } from "./told.js";
import { word } from "./words.js";

const REASONS = ["quality", "patient-safety", "worklist"];

/** Ask for person and reason; `send(film, person, reason)` resolves once a film is withdrawn. */
export function askToWithdraw(study, film, send) {
  const dialog = at("withdraw");
  const films = study.films.filter(counts);
  const person = h("input", {
    id: "withdraw-person",
    class: "control",
    maxlength: "100",
    required: true,
    autocomplete: "off",
  });
  const all = h("input", { type: "checkbox", id: "withdraw-all" });
  const said = h("p", { class: "refused", role: "alert" });
  const reasons = REASONS.map((reason) => {
    const input = h("input", { type: "radio", name: "reason", value: reason, required: true });
    return choice(input, word(`withdraw_${reason.replace("-", "_")}`));
  });

  async function confirmed(event) {
    event.preventDefault();
    const reason = new FormData(form).get("reason");
    try {
      for (const one of all.checked ? films : [film]) await send(one, person.value.trim(), reason);
      dialog.close();
    } catch (error) {
      said.textContent = `${error.message}. ${error.remedy ?? ""}`;
    }
  }

  const view = viewName(film, study.films.indexOf(film) + 1);
  const form = h(
    "form",
    { onsubmit: confirmed },
    standingSentence(),
    h("h2", { id: "withdraw-title" }, word("withdraw_title")),
    h("p", { class: "whose" }, patient(study), " · ", view),
    h("p", {}, word("withdraw_means")),
    h("fieldset", {}, h("legend", {}, word("withdraw_reason")), reasons),
    films.length > 1 ? choice(all, word("withdraw_all", { count: films.length })) : [],
    h("label", { for: "withdraw-person" }, word("withdraw_person")),
    person,
    said,
    h(
      "div",
      { class: "ends" },
      button("", () => dialog.close(), {}, word("withdraw_keep")),
      h("button", { class: "control strong" }, word("withdraw_confirm")),
    ),
  );
  dialog.replaceChildren(form);
  dialog.showModal();
}
