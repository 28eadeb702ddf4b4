// Was the unit right? What a person says of a study, with a reason.

import { choice, h } from "./dom.js";
import { readAs } from "./told.js";
import { word } from "./words.js";

const VERDICTS = ["agree", "disagree", "not_sure"];
// Who reads stays the same from study to study, until the page is closed.
let reader = "";

/** The form of one study; it is not drawn anew while somebody writes in it. */
export class ReadForm {
  #send;
  #chosen = null;
  #said = h("p", { class: "said", role: "status" });
  #reason = h("textarea", { id: "read-reason", rows: "2", maxlength: "500", class: "control" });
  #person = h("input", {
    id: "read-person",
    class: "control",
    maxlength: "100",
    required: true,
    autocomplete: "off",
    value: reader,
  });
  #rest = h(
    "div",
    { class: "rest", hidden: true },
    h("label", { for: "read-reason" }, word("read_reason")),
    this.#reason,
    h("label", { for: "read-person" }, word("read_person")),
    this.#person,
    h("button", { class: "control strong" }, word("read_send")),
  );

  /** `send(verdict, reason, reader)` resolves once the unit keeps it. */
  constructor(send) {
    this.#send = send;
    const choices = VERDICTS.map((verdict) => {
      const onchange = () => this.#choose(verdict);
      const kind = { type: "radio", name: "verdict", value: verdict, required: true };
      return choice(h("input", { ...kind, onchange }), word(`verdict_${verdict}`));
    });
    const question = h("legend", {}, word("read_question"));
    this.root = h(
      "form",
      { class: "read-form", onsubmit: (event) => this.#submit(event) },
      h("fieldset", {}, question, h("div", { class: "choices" }, choices)),
      this.#rest,
      this.#said,
    );
  }

  /** Show what was said last. */
  show(read) {
    if (read !== null) this.#said.textContent = readAs(read);
  }

  #choose(verdict) {
    this.#chosen = verdict;
    this.#rest.hidden = false;
    this.#reason.required = verdict !== "agree";
  }

  async #submit(event) {
    event.preventDefault();
    reader = this.#person.value.trim();
    try {
      await this.#send(this.#chosen, this.#reason.value.trim(), reader);
    } catch (error) {
      this.#said.textContent = `${error.message}. ${error.remedy ?? ""}`;
      return;
    }
    this.root.reset();
    this.#person.value = reader;
    this.#rest.hidden = true;
    this.show(this.#chosen);
  }
}
