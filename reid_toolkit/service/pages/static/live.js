/* Live: events of `reid watch` as they come, and who is there now. */

import { $, cameraName, el, isDated, personLink, say, show, timeOf } from "./common.js";

const [KEPT, RECENT] = [200, 50];
const WORDS = { entered: "entered", seen: "is still there", left: "left", revised: "turned out to be somebody else", corrected: "was here", alert: "alert" };
const THERE = ["entered", "seen", "revised"]; // whoever these are about is there
const KEYS = 500; // an event that is sent again has the same key, and comes soon
const SILENCE = 120; // seconds, three times what a watch needs by default to say something of whoever is there
const CLOCK = 1; // seconds that a camera's time may go back
const visits = new Map();
const known = new Set();
const waiting = [];
let paused = false;

const list = el("ol", { class: "log" });
const told = el("div", { role: "log", "aria-live": "off", "aria-label": "Events" }, list);
const empty = (words) => el("p", { class: "soft" }, words);

function take(event, id) {
  if (known.has(event.key)) return;
  known.add(event.key);
  if (known.size > KEYS) known.delete(known.values().next().value);
  place(event, id);
  if (paused) {
    waiting.push(event);
    if (waiting.length > KEPT) waiting.shift();
    $("pause").textContent = `Go on (${waiting.length < KEPT ? waiting.length : `${KEPT} or more`} new)`;
  } else draw([event]);
}

/* Who is there. A watch that was killed sends no "left", so whoever it saw last is gone when their camera says something
   much later, or begins again with an earlier time, or when nothing is said of them for long. */
function place(event, id) {
  for (const [visit, { last }] of visits) {
    if (last.camera === event.camera && (event.time < last.time - CLOCK || event.time > last.time + SILENCE)) visits.delete(visit);
  }
  if (event.kind === "left") visits.delete(event.visit);
  else if (THERE.includes(event.kind) && !isPast(event, id)) visits.set(event.visit, { last: event, came: Date.now() });
}

/* Whether an event was in the file when the page was made, and is old. What comes later may be of old footage. */
const [file, end] = $("here").dataset.begin.split("-");
function isPast(event, id) {
  const [inode, at] = id.split("-");
  return inode === file && Number(at) <= Number(end) && isDated(event.time) && Date.now() / 1000 - event.time > SILENCE;
}

function forgetSilent() {
  const silent = [...visits].filter(([, { came }]) => Date.now() - came > 1000 * SILENCE);
  for (const [visit] of silent) visits.delete(visit);
  if (silent.length && !paused) here();
}

function draw(events) {
  if (!list.isConnected) show($("events"), told);
  list.prepend(...events.reverse().map(row));
  while (list.children.length > KEPT) list.lastChild.remove();
  here();
}

function row(event) {
  const who = event.person ? personLink(event.person) : event.state === "new" ? "Somebody new" : "Somebody";
  const sure = event.probability === null || event.probability === undefined ? "" : `, ${Math.round(100 * event.probability)}%`;
  const before = event.previous && event.previous !== event.person ? ` (not ${event.previous})` : "";
  return el("li", {}, el("span", {}, who, ` ${WORDS[event.kind] ?? event.kind}${before}`), el("span", { class: "soft" }, `${cameraName(event.camera)}${sure}`), timeOf(event.time, event.time));
}

function here() {
  if (!visits.size) return show($("here"), empty("Nobody, as far as the events say."));
  const rows = [...visits.values()].map(({ last: one }) => el("li", {}, el("span", {}, one.person ? personLink(one.person) : "Somebody"), el("span", { class: "soft" }, cameraName(one.camera)), el("span", { class: "soft small" }, "since ", timeOf(one.start, one.start))));
  show($("here"), el("ol", { class: "log" }, rows));
}

function link(words, state) {
  $("link").textContent = words;
  $("link").className = `dot ${state}`;
}

function connect() {
  const source = new EventSource(`/api/v1/events?recent=${RECENT}`);
  source.addEventListener("open", () => link("Connected", "on"));
  source.addEventListener("error", () => link(source.readyState === EventSource.CLOSED ? "Not connected. Load the page again to try once more." : "Connection lost; trying again", "off"));
  const got = (message) => take(JSON.parse(message.data), message.lastEventId);
  for (const kind of ["event", ...Object.keys(WORDS)]) source.addEventListener(kind, got);
}

$("pause").removeAttribute("aria-pressed"); // its words say what it does
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").textContent = paused ? "Go on" : "Pause";
  if (!paused && waiting.length) draw(waiting.splice(0));
  else if (!paused) here();
  say(paused ? "Paused" : "Going on");
});
$("speak").addEventListener("change", () => told.setAttribute("aria-live", $("speak").checked ? "polite" : "off"));
show($("events"), empty("No events yet. They come as soon as somebody enters."));
here();
connect();
setInterval(forgetSilent, 10_000);
