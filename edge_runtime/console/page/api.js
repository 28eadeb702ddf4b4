// The unit's API, as far as the page needs it. Every answer counts as contact.

// A list is long after a start, when no header was read yet, and a film takes long to decode.
const PATIENCE_MS = 20000;

/** The unit said no: what is wrong, and what to do. */
export class Refused extends Error {
  constructor(status, { error, remedy }) {
    super(error);
    this.status = status;
    this.remedy = remedy;
  }
}

/** The unit did not answer. */
export class NoContact extends Error {}

/** When the unit answered last; null before the first time. */
export let lastContact = null;

/**
 * Ask the unit; with a `body`, tell it something. It is given up after `patience` milliseconds.
 * Throws Refused or NoContact.
 */
export async function ask(path, body, patience = PATIENCE_MS) {
  const request = { cache: "no-store", signal: AbortSignal.timeout(patience) };
  if (body !== undefined) {
    request.method = "POST";
    request.headers = { "Content-Type": "application/json" };
    request.body = JSON.stringify(body);
  }
  let answer, text;
  try {
    answer = await fetch(path, request);
    text = await answer.text();
  } catch {
    throw new NoContact("no answer");
  }
  lastContact = new Date();
  if (answer.ok) return text === "" ? null : JSON.parse(text);
  throw new Refused(answer.status, told(text, answer.status));
}

/** Where a film's picture lies. */
export function picture(film, width) {
  return `/v1/films/${encodeURIComponent(film.sop_instance_uid)}/image.png?width=${width}`;
}

function told(text, status) {
  try {
    const { error, remedy } = JSON.parse(text);
    if (typeof error === "string") return { error, remedy: remedy ?? "" };
  } catch {
    // Not one of the unit's own errors.
  }
  return { error: `HTTP ${status}`, remedy: "" };
}
