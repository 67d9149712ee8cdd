/* The review queue: two pictures, do they show one person? s = same, n = not, u = undo, right arrow = skip. */

import { $, api, busy, cameraName, change, counted, dayAndClock, el, failed, focusOn, fullSpan, loading, may, personLink, problem, say, shot, show, state, toast } from "./common.js";
import { correctionsOf, undoAll } from "./correcting.js";

const BATCH = 20;
const KEYS = "reid-review-keys";
let queue = [];
const done = []; // what was answered here, so that it can be undone
let given = 0;

async function questions() {
  loading($("ask"), "line", 4, "Looking for the questions that teach most. The first time takes a moment.");
  try {
    const answer = await change(`/people/review?limit=${BATCH}`);
    queue = answer.questions;
    given = queue.length;
    draw();
  } catch (error) {
    failed($("ask"), error, more);
  }
}

const more = () => once(questions);

function draw() {
  const one = queue[0];
  if (!one) return finished();
  const now = one.now === "same" ? "one person" : "two people";
  const people = [...new Set([one.first.person, one.second.person].filter(Boolean))];
  const names = people.flatMap((name, at) => [at ? ", " : "", personLink(name)]);
  const heading = el("h2", { id: "question", tabindex: "-1" }, "Do these pictures show one person?");
  const progress = el("div", { class: "progress" }, heading, el("span", { class: "soft number" }, `${given - queue.length + 1} of ${given}`));
  const bar = el("progress", { max: given, value: given - queue.length, "aria-label": "Questions answered" });
  const effect = el("p", { class: "soft" }, `Now: ${now}`, names.length ? " (" : "", ...names, names.length ? ")" : "", `. Another answer moves about ${counted(one.records, "record")}.`);
  show($("ask"), progress, bar, el("div", { class: "two" }, side(one.first, "First"), side(one.second, "Second")), answers(), effect);
  preload(queue[1]);
  say(`Question ${given - queue.length + 1} of ${given}. ${describe(one.first)}; ${describe(one.second)}. Now ${now}.`);
}

const describe = (one) => `camera ${cameraName(one.camera)}, ${fullSpan(one.start, one.end)}`;

function side(one, which) {
  const caption = el("figcaption", {}, el("b", {}, cameraName(one.camera)), dayAndClock(one.start, one.end), el("span", { class: "soft" }, one.person ?? "no person yet"));
  return el("figure", {}, shot(one.picture, `${which} picture: ${describe(one)}`), caption);
}

function answers() {
  const button = (words, key, work, name) => el("button", { class: name, "aria-keyshortcuts": key === "→" ? "ArrowRight" : key, onclick: work }, words, el("kbd", { "aria-hidden": "true" }, key));
  return el(
    "div", { class: "answers", role: "group", "aria-label": "Answers" },
    button("Same", "s", () => answer("same"), "main"),
    button("Not", "n", () => answer("not"), "main"),
    button("Skip", "→", skip),
    el("button", { "aria-keyshortcuts": "u", disabled: !done.length, onclick: undo }, "Undo", el("kbd", { "aria-hidden": "true" }, "u")),
  );
}

/* One thing at a time. Records may be grouped again meanwhile, which can take minutes: then the page says so. */
const SOON = 1000; // milliseconds
let working = false;
async function once(work, focus = true) {
  if (working) return;
  working = true;
  const place = $("ask");
  const buttons = [...place.querySelectorAll("button")];
  for (const one of buttons) one.setAttribute("aria-disabled", "true");
  const words = el("p", { class: "notice" }, "Working. If records are grouped again, this takes a while.");
  const timer = setTimeout(() => {
    if (place.hasAttribute("aria-busy")) return; // it says already what it waits for
    place.append(words);
    say(words.textContent);
  }, SOON);
  try {
    await work();
    if (focus) focusOn(place.querySelector("h2"));
  } catch (error) {
    problem(error);
  } finally {
    clearTimeout(timer);
    words.remove();
    for (const one of buttons) one.removeAttribute("aria-disabled");
    working = false;
  }
}

const answer = (kind) =>
  once(async () => {
    const one = queue[0];
    if (!one) return;
    try {
      const made = correctionsOf(await change(`/people/${kind}`, { method: "POST", json: { first: one.first.id, second: one.second.id } }));
      done.push({ one, made });
    } catch (error) {
      if (!isSettled(error)) throw error;
      toast(`This question is settled. ${error.message}`);
    }
    queue.shift();
    draw();
    corrections();
  });

/* Whether there is nothing to ask any more: somebody else has answered, or a record was deleted. */
const isSettled = ({ status, message }) => status === 404 || (status === 409 && message.includes("because it is known"));

const skip = () =>
  once(async () => {
    if (!queue.length) return;
    queue.shift();
    draw();
  });

const undo = () =>
  once(async () => {
    const last = done.pop();
    if (!last) return say("Nothing to undo");
    try {
      await undoAll(last.made);
    } catch (error) {
      if (error.status !== 404) { // 404: somebody else has taken it back
        done.push(last);
        throw error;
      }
    }
    queue.unshift(last.one);
    given = Math.max(given, queue.length);
    draw();
    corrections();
  });

function finished() {
  const text = given ? "You have seen all of these questions." : "No pair is unsure enough to be asked about.";
  const buttons = [el("button", { class: "main", onclick: more }, "Ask for more")];
  if (done.length) buttons.push(el("button", { onclick: undo }, "Undo the last answer"));
  show($("ask"), state(given ? "Done" : "No questions", text, given ? buttons : []));
  say(given ? "Done" : "No questions");
}

function preload(next) {
  for (const one of next ? [next.first, next.second] : []) if (one.picture) new Image().src = one.picture;
}

/* Corrections that were made before, the newest first */

const PART = 50;
let listed = PART;
let listing = null;
async function corrections() {
  listing?.abort();
  listing = new AbortController();
  const place = $("said");
  try {
    const answer = await api("/people/corrections", { signal: listing.signal });
    list(place, answer.corrections.reverse());
  } catch (error) {
    failed(place, error, corrections);
  }
}

function list(place, all) {
  if (!all.length) return show(place, el("p", { class: "soft" }, "No corrections yet."));
  const rows = all.slice(0, listed).map(row);
  const left = all.length - rows.length;
  const further = () => {
    listed += PART;
    list(place, all);
    place.querySelectorAll("li button")[rows.length].focus();
  };
  const button = () => el("div", { class: "more" }, el("button", { onclick: further }, `Show more (${counted(left, "correction")} left)`));
  show(place, el("ol", { class: "log" }, rows), ...(left ? [button()] : []));
}

function row(one) {
  const take = el("button", { class: "quiet", "aria-label": `Undo ${one.name}`, onclick: () => busy(take, () => takeBack(one.name)) }, "Undo");
  const [first, second] = [one.first ?? "A record that is no longer shown", one.second ?? "a record that is no longer shown"];
  const words = `${first} and ${second} are ${one.kind === "same" ? "one person" : "different people"}`;
  return el("li", {}, el("span", {}, words), el("span", { class: "soft small" }, `${one.name}, ${one.who}, `, dayAndClock(one.time, one.time)), take);
}

async function takeBack(name) {
  await undoAll([name]);
  const at = done.findIndex((one) => one.made.includes(name));
  if (at >= 0) done.splice(at, 1);
  say(`${name} undone`);
  await corrections();
  focusOn($("saidhead"));
}

/* Keys. They can be switched off, because a single letter may be typed by mistake or by speech. */

const ACTIONS = { s: () => answer("same"), n: () => answer("not"), u: undo, ArrowRight: skip };
$("keys").checked = localStorage.getItem(KEYS) !== "off";
$("keys").addEventListener("change", () => localStorage.setItem(KEYS, $("keys").checked ? "on" : "off"));
document.addEventListener("keydown", (event) => {
  if (!$("keys").checked || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  if (event.target.matches("input:not([type=checkbox]), select, textarea") || document.querySelector("dialog[open]")) return;
  const work = ACTIONS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!work) return;
  event.preventDefault();
  work();
});

if (may("review")) {
  once(questions, false);
  corrections();
}
