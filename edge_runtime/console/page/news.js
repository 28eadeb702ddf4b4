// A result that arrives while something else is looked at: said, and never put in its place.

import { at, button, h, icon } from "./dom.js";
import { clock } from "./times.js";
import { patient, sign, verdict } from "./told.js";
import { word } from "./words.js";

/** Notices which of today's studies have a new result. */
export class News {
  #known = null;
  #unseen = new Map();
  #onOpen;

  constructor(onOpen) {
    this.#onOpen = onOpen;
  }

  /** Compare today's lines with those before; the first ones are no news. */
  see(lines, open) {
    const before = this.#known;
    this.#known = new Map(lines.map((line) => [line.study_instance_uid, sign(line)]));
    const isNew = (line) =>
      line.state === "done" && before.get(line.study_instance_uid) !== sign(line);
    const fresh = before === null ? [] : lines.filter(isNew);
    const byUid = new Map(lines.map((line) => [line.study_instance_uid, line]));
    for (const uid of this.#unseen.keys()) {
      if (byUid.has(uid)) this.#unseen.set(uid, byUid.get(uid));
      else this.#unseen.delete(uid);
    }
    for (const line of fresh) {
      say(line);
      const uid = line.study_instance_uid;
      if (open !== null && open !== uid) this.#unseen.set(uid, line);
    }
    this.draw();
  }

  /** A study is looked at, or none is: then the list itself tells the news. */
  seen(uid) {
    if (uid === null) this.#unseen.clear();
    else this.#unseen.delete(uid);
    this.draw();
  }

  /** Draw the notice: the urgent one first, then the newest. */
  draw() {
    const lines = [...this.#unseen.values()];
    const first = lines.find((line) => sign(line) === "urgent_review") ?? lines[0];
    const notice = at("news");
    notice.hidden = first === undefined;
    if (first === undefined) return;
    notice.className = `news is-${sign(first)}`;
    const more = lines.length > 1 ? word("news_more", { count: lines.length - 1 }) : "";
    notice.replaceChildren(
      icon(sign(first)),
      h("p", {},
        h("strong", {}, word("news", { decision: verdict(first) })),
        h("span", {}, patient(first), ` · ${clock(first.received_at)} ${more}`)),
      button("strong", () => this.#onOpen(first.study_instance_uid), {}, word("news_open")),
      button("square", () => this.seen(null), { "aria-label": word("news_close") }, icon("close")),
    );
  }
}

function say(line) {
  const region = at(sign(line) === "urgent_review" ? "urgently" : "quietly");
  region.replaceChildren(`${word("news", { decision: verdict(line) })} `, patient(line));
}
