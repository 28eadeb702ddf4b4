// Whether the unit is there. Events say that something changed; a question every few seconds
// notices a server that is lost, also one that hangs and still holds the event stream open.

import { NoContact, Refused, ask } from "./api.js";
import { language } from "./words.js";

const EVERY_MS = 3000;
const EVERY_LOST_MS = 1000;
const PATIENCE_MS = 4000;

/** Keeps asking for the status, and listens to events. */
export class Connection {
  #tell;
  #events = null;
  #timer = null;
  #asking = false;
  #started = false;

  /** `tell` has `status(status)`, `changed()`, `lost()`, `locked()`. */
  constructor(tell) {
    this.#tell = tell;
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.check();
    });
  }

  /** Begin, or begin again after somebody logged in. */
  start() {
    this.#started = true;
    return this.check();
  }

  /** Stop, until somebody logs in. */
  stop() {
    this.#started = false;
    clearTimeout(this.#timer);
    this.#silent();
  }

  /** Ask now. */
  async check() {
    if (!this.#started || this.#asking) return;
    this.#asking = true;
    clearTimeout(this.#timer);
    let every = EVERY_MS;
    try {
      const status = await ask(`/v1/status?lang=${language()}`, undefined, PATIENCE_MS);
      if (status.mode === "live") this.#listen();
      else this.#silent();
      await this.#tell.status(status);
    } catch (error) {
      if (error instanceof Refused && error.status === 401) {
        this.stop();
        this.#tell.locked();
      } else if (error instanceof Refused || error instanceof NoContact) {
        every = EVERY_LOST_MS;
        this.#silent();
        this.#tell.lost(error);
      } else throw error;
    } finally {
      this.#asking = false;
      if (this.#started) this.#timer = setTimeout(() => this.check(), every);
    }
  }

  #listen() {
    if (this.#events !== null && this.#events.readyState !== EventSource.CLOSED) return;
    this.#events = new EventSource("/v1/events");
    this.#events.addEventListener("study", () => this.#tell.changed());
    this.#events.addEventListener("error", () => this.check());
  }

  #silent() {
    this.#events?.close();
    this.#events = null;
  }
}
