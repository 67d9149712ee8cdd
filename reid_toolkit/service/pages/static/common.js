/* What all pages share: requests, elements, times, states and messages. Text from the server only ever becomes text
   nodes and attributes, so a name with HTML in it is shown as it is. */

const body = document.body.dataset;
export const role = body.role;
export const limits = JSON.parse(body.limits || "{}");
const RANKS = { search: 0, review: 1, admin: 2 };
export const may = (needed) => RANKS[role] >= RANKS[needed];
export const $ = (id) => document.getElementById(id);

/* Requests */

export class Refusal extends Error {
  constructor(status, message, wait = 0, code = "") {
    super(message);
    Object.assign(this, { status, wait, code });
  }
}

let csrf = document.querySelector('meta[name="csrf-token"]')?.content ?? "";
const ON_THE_WAY = 30; // seconds that a request and its answer may take besides the work: pictures may come slowly

export async function api(path, wanted = {}) {
  try {
    return await request(path, wanted);
  } catch (error) {
    if (error.code !== "wrong_csrf") throw error;
    await recognise(); // somebody signed in anew in another tab
    return request(path, wanted);
  }
}

/* What may take long in a large gallery: what changes people, and the questions. The server allows it more time. */
export const change = (path, wanted = {}) => api(path, { ...wanted, seconds: limits.change });

async function request(path, { method = "GET", json, form, signal, seconds = limits.answer } = {}) {
  const limit = AbortSignal.timeout(1000 * (seconds + ON_THE_WAY));
  const options = { method, headers: { Accept: "application/json" }, credentials: "same-origin" };
  options.signal = signal ? AbortSignal.any([signal, limit]) : limit;
  if (method !== "GET") options.headers["X-Reid-CSRF"] = csrf;
  if (json !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(json);
  } else if (form) options.body = form;
  try {
    const answer = await fetch(`/api/v1${path}`, options);
    if (!answer.ok) throw await refusal(answer);
    const found = answer.status === 204 ? null : await answer.json();
    signal?.throwIfAborted();
    sessionEnded(false);
    return found;
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    if (error instanceof Refusal) throw error;
    if (error.name === "TimeoutError") throw new Refusal(0, "The server did not answer in time.");
    if (error instanceof SyntaxError) throw new Refusal(200, "The answer is not one of this service. Perhaps a proxy sent it. Try again.");
    throw new Refusal(0, "The server cannot be reached. Check the connection, then try again.");
  }
}

async function refusal(answer) {
  let [message, code] = [`The server answered with status ${answer.status}.`, ""];
  try {
    ({ message, code } = (await answer.json()).error);
    message = sentence(message);
  } catch { /* not from us: a proxy's page, for example */ }
  if (answer.status === 401) {
    sessionEnded(true);
    message = "You are signed out. Sign in, then try again.";
  }
  return new Refusal(answer.status, message, Number(answer.headers.get("Retry-After")) || 0, code);
}

/* The server's line as a sentence. A name at its beginning, such as a file's, stays as it is. */
export function sentence(words) {
  const begin = /^[a-z]+[ ,]/.test(words) ? words.charAt(0).toUpperCase() : words.charAt(0);
  return begin + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".");
}

/* The session may end, or begin anew, in another tab. What is on this page stays. */
function sessionEnded(ended) {
  if ($("session").hidden === !ended || replaced) return;
  const next = encodeURIComponent(location.pathname + location.search);
  const buttons = [el("a", { class: "button", href: `/login?next=${next}` }, "Sign in"), el("button", { onclick: renew }, "I signed in elsewhere")];
  tellOfSession(ended ? "You are signed out. What you see stays here until you leave the page." : "", buttons);
}

function tellOfSession(words, buttons) {
  const place = $("session");
  place.hidden = !words;
  place.className = words ? "notice bad" : "";
  place.replaceChildren(...(words ? [el("p", { role: "alert" }, words), ...buttons] : []));
}

/* Whether it is still the same user, whose new session has a new secret. What one user wanted is never sent in the name
   of another one. */
const user = document.querySelector(".who").firstChild.data.trim();
let replaced = false;
async function recognise() {
  const who = await request("/whoami");
  if (who.name.trim() === user && who.role === role) {
    csrf = who.csrf ?? csrf;
    replaced = false;
    return sessionEnded(false);
  }
  replaced = true;
  const words = `${who.name} (${who.role}) signed in here meanwhile.`;
  tellOfSession(`${words} Load the page again to go on.`, [el("button", { onclick: () => location.reload() }, "Load the page again")]);
  throw new Refusal(409, `${words} Nothing was sent. Load the page again.`);
}

async function renew() {
  try {
    await recognise();
    say("You are signed in again.");
  } catch (error) {
    toast(error.message);
  }
}

/* Elements */

export function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof value === "boolean") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export function svg(tag, given = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function shot(address, words, ...more) {
  const place = el("span", { class: "shot" });
  place.append(picture(address, words), ...more);
  return place;
}

/* A picture, or words in its place if there is none or it cannot be loaded. A busy server refuses some of many, so a
   picture is asked for again after each of these seconds. */
const PAUSES = [1, 4];
export function picture(address, words) {
  const blank = () => el("span", { class: "blank" }, words ? ["no picture", el("span", { class: "visually-hidden" }, `: ${words}`)] : "");
  if (!address) return blank();
  const made = el("img", { loading: "lazy", decoding: "async", alt: words, src: address });
  const pauses = [...PAUSES];
  made.addEventListener("error", () => {
    if (!pauses.length) return made.replaceWith(blank());
    const seconds = pauses.shift() * (1 + Math.random()); // not all at once again
    setTimeout(() => (made.src = address), 1000 * seconds);
  });
  return made;
}

export const personLink = (name) => el("a", { href: `/people/${encodeURIComponent(name)}` }, name);
export const cameraName = (name) => name || "(no name)";
export const counted = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/* Times, in the server's zone, as the command line shows them. The server may know zones that the browser does not, such
   as localtime. */

function zoneOf(name) {
  try {
    new Intl.DateTimeFormat("en-GB", { timeZone: name });
    return name;
  } catch {
    $("main").prepend(el("p", { class: "notice" }, `This browser does not know the time zone ${name} of the server. It shows times in UTC. Filters and the counts of days are in ${name}.`));
    return "UTC";
  }
}

const DATED = [1e8, 1e11];
export const isDated = (seconds) => seconds !== null && seconds >= DATED[0] && seconds <= DATED[1];
const zone = zoneOf(body.zone);
const zoned = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...options });
const DAY = zoned({ weekday: "short", day: "numeric", month: "short", year: "numeric" });
const CLOCK = zoned({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DATE = zoned({ day: "numeric", month: "short", year: "numeric" });
const SHORT = zoned({ hour: "2-digit", minute: "2-digit" });
const moment = (seconds) => new Date(seconds * 1000);
export const dayOf = (seconds) => (isDated(seconds) ? DAY.format(moment(seconds)) : "");
export const shortTime = (seconds) => (isDated(seconds) ? SHORT.format(moment(seconds)) : `${Math.round(seconds)} s`);

export function clockSpan(start, end) {
  if (start === null || start === undefined || end === null) return "time not known";
  if (!isDated(start)) {
    const from = start.toFixed(1);
    return from === end.toFixed(1) ? `${from} s of the recording` : `${from}–${end.toFixed(1)} s of the recording`;
  }
  const [from, to] = [CLOCK.format(moment(start)), CLOCK.format(moment(end))];
  return from === to ? from : `${from}–${to}`;
}

export const fullSpan = (start, end) => [dayOf(start), clockSpan(start, end)].filter(Boolean).join(", ");
export function timeOf(start, end, words = clockSpan(start, end)) {
  return isDated(start) ? el("time", { datetime: moment(start).toISOString() }, words) : el("span", {}, words);
}
/* Day and clock, which may stand on two lines. */
export const dayAndClock = (start, end) =>
  el("span", { class: "when" }, ...(isDated(start) ? [el("span", {}, `${DATE.format(moment(start))},`), " "] : []), timeOf(start, end));
export const dayTime = (seconds) =>
  isDated(seconds)
    ? el("time", { datetime: moment(seconds).toISOString() }, `${DATE.format(moment(seconds))}, ${SHORT.format(moment(seconds))}`)
    : el("span", {}, seconds === null ? "–" : `${seconds.toFixed(1)} s`);

export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  if (minutes < 2880) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.round(seconds / 86400)} days`;
}

/* States */

/* Move the focus to a heading, after what had the focus is gone. */
export function focusOn(heading) {
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

export const say = (words) => {
  const place = $("status");
  place.textContent = "";
  setTimeout(() => (place.textContent = words), 30);
};

export function state(heading, text, buttons = [], bad = false) {
  return el(
    "div",
    { class: bad ? "state bad" : "state", role: bad ? "alert" : null },
    el("h2", {}, heading),
    text && el("p", {}, text),
    buttons.length > 0 && el("div", { class: "buttons" }, buttons),
  );
}

export function loading(place, kind = "line", count = 4, words = "") {
  place.setAttribute("aria-busy", "true");
  const bones = Array.from({ length: count }, () =>
    kind === "card" ? el("div", { class: "card" }, el("div", { class: "shot bone" }), el("p", {}, "\u00a0")) : el("div", { class: `bone ${kind}` }),
  );
  place.replaceChildren(el("p", { class: words ? "soft" : "visually-hidden" }, words || "Loading"), el("div", { class: kind === "card" ? "cards" : "", "aria-hidden": "true" }, bones));
}

export function show(place, ...children) {
  place.removeAttribute("aria-busy");
  place.replaceChildren(...children);
}

const HEADINGS = {
  0: "No connection", 401: "You are signed out", 403: "Your token may not do this", 404: "Not found",
  429: "Too many requests", 501: "This gallery cannot do this", 503: "The server is busy", 504: "The server took too long",
};

/* A fault of this page goes to the browser's console, and the page says that something was wrong. */
function asRefusal(error) {
  if (error instanceof Refusal) return error;
  reportError(error);
  return new Refusal(500, "This page cannot show the answer. Load it again.");
}

/* An error in the place of what was asked for. What the user may do about it is a button. */
export function failed(place, error, again) {
  if (error.name === "AbortError") return;
  error = asRefusal(error);
  if (error.code === "not_grouped") return show(place, state("Nobody was grouped yet", error.message));
  const buttons = [];
  if (error.status === 401) {
    const next = encodeURIComponent(location.pathname + location.search);
    buttons.push(el("a", { class: "button", href: `/login?next=${next}` }, "Sign in"));
  }
  if (again && ![403, 404, 501].includes(error.status)) buttons.push(el("button", { onclick: again }, "Try again"));
  const wait = error.wait ? ` Try again in ${counted(Math.ceil(error.wait), "second")}.` : "";
  show(place, state(HEADINGS[error.status] ?? "This did not work", error.message + wait, buttons, true));
}

/* A message at the bottom. It stays until it is closed or another one comes. Gives what closes it. */
export function toast(words, undo = null) {
  const close = () => made.remove();
  const made = el("div", { class: "toast" }, el("span", {}, words));
  if (undo) made.append(el("button", { onclick: () => (close(), undo()) }, "Undo"));
  made.append(el("button", { onclick: close }, "Close"));
  $("toasts").replaceChildren(made);
  return close;
}

export const problem = (error) => {
  if (error.name === "AbortError") return;
  error = asRefusal(error);
  toast(error.wait ? `${error.message} Try again in ${Math.ceil(error.wait)} s.` : error.message);
};

/* Change something by a button, or by one of the buttons in a place. Further clicks are ignored while the server works. */
export async function busy(place, work) {
  const buttons = place.matches("button") ? [place] : [...place.querySelectorAll("button")];
  if (buttons.some((one) => one.getAttribute("aria-disabled") === "true")) return;
  for (const one of buttons) one.setAttribute("aria-disabled", "true");
  try {
    return await work();
  } catch (error) {
    problem(error);
  } finally {
    for (const one of buttons) one.removeAttribute("aria-disabled");
  }
}

/* A question in a dialog. Gives what the form holds, or null if it was closed. */
export function ask(heading, content, action, { danger = false } = {}) {
  return new Promise((resolve) => {
    const form = el(
      "form", { method: "dialog" },
      el("h2", { id: "dialoghead" }, heading),
      ...content,
      el(
        "div", { class: "buttons end" },
        el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
        el("button", { class: danger ? "danger" : "main", value: "yes" }, action),
      ),
    );
    const dialog = el("dialog", { "aria-labelledby": "dialoghead" }, form);
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes" ? new FormData(form) : null);
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
