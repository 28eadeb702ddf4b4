// The page of the unit: what is shown, and when it is asked for.

import { NoContact, Refused, ask, lastContact } from "./api.js";
import { Connection } from "./connection.js";
import { at, h, icon } from "./dom.js";
import { StudyList } from "./list.js";
import { News } from "./news.js";
import { quietLine } from "./quiet.js";
import { StudyView } from "./study.js";
import { clock, dayInWords, dayOf, shifted } from "./times.js";
import { askToWithdraw } from "./withdraw.js";
import { chooseLanguage, language, loadWords, word } from "./words.js";

let day = null; // null: today, by the unit's clock
let today = null;
let counted = ""; // films by state, day and mode as the status told last
let status = null;
let hasWords = false;

const list = new StudyList(at("rows"), open);
const news = new News(open);
const study = new StudyView(at("study"), {
  close,
  read: async (uid, verdict, reason, reader) => {
    await ask(`/v1/studies/${encodeURIComponent(uid)}/reads`, { verdict, reason, reader });
    await refresh();
  },
  withdraw: (whole, film) =>
    askToWithdraw(whole, film, async ({ sop_instance_uid: uid }, person, reason) => {
      await ask(`/v1/films/${encodeURIComponent(uid)}/withdraw`, { person, reason });
      await refresh();
    }),
});

// What is shown: one of the login form, shadow mode and the desk.
function show(what) {
  for (const id of ["login", "shadow", "desk"]) at(id).hidden = id !== what;
  at("quiet").hidden = what !== "desk";
  if (what !== "desk") {
    at("news").hidden = true;
    at("unit").textContent = "osteoedge";
  }
}

// Ask for what is shown, one question at a time; whatever changes meanwhile asks once more.
const refresh = oneAtATime(async () => {
  try {
    const ofToday = await ask(`/v1/studies?lang=${language()}`);
    if (ofToday.mode === "shadow") {
      shadow();
      return true;
    }
    today = ofToday.day;
    if (day === today) day = null;
    const shown = day === null ? ofToday : await ask(`/v1/studies?day=${day}&lang=${language()}`);
    show("desk");
    drawDays();
    list.show(shown.studies, study.uid);
    news.see(ofToday.studies, study.uid);
    at("empty").hidden = shown.studies.length > 0;
    at("empty").textContent = word(day === null ? "empty_today" : "empty_day");
    if (study.uid !== null) await refreshStudy();
  } catch (error) {
    failed(error);
    return false;
  }
  return true;
});

const connection = new Connection({ status: contact, changed: refresh, lost, locked });

async function refreshStudy() {
  const { uid } = study;
  try {
    const told = await ask(`/v1/studies/${encodeURIComponent(uid)}?lang=${language()}`);
    if (study.uid === uid) study.show(told);
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404) throw error;
    study.refused(error.message, error.remedy);
  }
}

function shadow() {
  leave();
  at("rows").replaceChildren();
  show("shadow");
}

async function open(uid) {
  if (study.uid === null) history.pushState({ study: uid }, "");
  study.opening(uid);
  at("desk").dataset.open = "";
  list.mark(uid);
  news.seen(uid);
  study.focus();
  try {
    await refreshStudy();
    if (study.uid === uid && !at("study").contains(document.activeElement)) study.focus();
  } catch (error) {
    failed(error);
  }
}

// Back, as the button of the browser and the gesture of a tablet do it.
function close() {
  history.back();
}

function leave() {
  const { uid } = study;
  if (uid === null) return;
  study.nothing();
  delete at("desk").dataset.open;
  list.mark(null);
  news.seen(null);
  if (!list.focus(uid)) at("day-title").focus();
}

function drawDays() {
  const shown = day ?? today;
  at("day-title").replaceChildren(
    ...(day === null ? [h("span", {}, word("today")), " "] : []),
    h("span", {}, dayInWords(shown)),
  );
  at("day").value = shown;
  at("day").max = today;
  at("day-after").disabled = day === null;
  at("day-today").hidden = day === null;
}

function goTo(chosen) {
  day = chosen === today || chosen > today ? null : chosen;
  refresh();
}

async function contact(told) {
  status = told;
  const wasLost = !at("lost").hidden;
  if (!hasWords) await speak();
  const facts = JSON.stringify([told.films, dayOf(told.at), told.mode]);
  const changed = facts !== counted;
  counted = facts;
  if (told.mode === "live") drawStatus();
  const current = wasLost || changed ? await refresh() : true;
  if (!wasLost || !current) return;
  at("lost").hidden = true;
  document.body.classList.remove("stale");
  at("quietly").textContent = word("found_again");
}

function drawStatus() {
  at("unit").textContent = status.unit;
  at("quiet").replaceChildren(...quietLine(status));
}

// Nothing new is known: the unit does not answer, or answers that it cannot.
function lost(error) {
  const banner = at("lost");
  document.body.classList.add("stale");
  const since = lastContact === null ? null : clock(lastContact, { seconds: true });
  const said = hasWords
    ? [word("lost"), since === null ? "" : word("lost_since", { time: since }), word("lost_means")]
    : ["No contact with the unit.", "Trying again."];
  if (error instanceof Refused) said.push(`(${error.message})`);
  const [what, ...more] = said.filter(Boolean);
  // An alert is read out anew where it is changed, so it is left alone where it is not.
  if (!banner.hidden && banner.textContent === `${what} ${more.join(" ")}`) return;
  banner.replaceChildren(icon("warning"), h("p", {}, h("strong", {}, what), ` ${more.join(" ")}`));
  banner.hidden = false;
  // The film alone would hide the banner.
  at("large").close();
}

function locked() {
  leave();
  at("rows").replaceChildren();
  show("login");
  at("token").focus();
}

function failed(error) {
  if (error instanceof Refused && error.status === 401) {
    connection.stop();
    locked();
  } else if (error instanceof Refused && error.status === 403) connection.check();
  else if (error instanceof NoContact || error instanceof Refused) lost(error);
  else throw error;
}

async function logIn(who) {
  try {
    await ask("/v1/session", who);
  } catch (error) {
    locked();
    const refused = error instanceof Refused ? `${error.message}. ${error.remedy}` : word("lost");
    at("login-refused").textContent = refused;
    return;
  }
  at("login-refused").textContent = "";
  at("token").value = "";
  await connection.start();
}

async function speak() {
  try {
    await loadWords();
    hasWords = true;
    if (study.uid === null) study.nothing();
  } catch (error) {
    if (!(error instanceof NoContact) && !(error instanceof Refused)) throw error;
  }
}

async function speakAnew(code) {
  try {
    await chooseLanguage(code);
  } catch (error) {
    at("language").value = language();
    failed(error);
    return;
  }
  if (status !== null && at("shadow").hidden) drawStatus();
  news.draw();
  if (study.uid === null) study.nothing();
  else study.opening(study.uid);
  if (!at("desk").hidden) await refresh();
}

// A token in the address is taken out of it before anything is asked.
function tokenOfAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (location.hash !== "") history.replaceState(null, "", location.pathname);
  return token;
}

function oneAtATime(work) {
  let running = null;
  let again = false;
  return () => {
    again = true;
    running ??= (async () => {
      let done;
      while (again) {
        again = false;
        done = await work();
      }
      return done;
    })().finally(() => (running = null));
    return running;
  };
}

at("language").addEventListener("change", (event) => speakAnew(event.target.value));
at("day-before").addEventListener("click", () => goTo(shifted(day ?? today, -1)));
at("day-after").addEventListener("click", () => goTo(shifted(day ?? today, 1)));
at("day-today").addEventListener("click", () => goTo(today));
at("day").addEventListener("change", ({ target }) => {
  if (target.value !== "") goTo(target.value);
});
at("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = at("name").value.trim();
  const secret = at("token").value;
  logIn(name === "" ? { token: secret } : { name, password: secret });
});
addEventListener("popstate", leave);
addEventListener("keydown", (event) => {
  const free = study.uid !== null && document.querySelector("dialog[open]") === null;
  if (event.key === "Escape" && free) close();
});

const token = tokenOfAddress();
await speak();
if (token === null) await connection.start();
else await logIn({ token });
