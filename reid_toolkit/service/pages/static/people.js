/* Everybody: a list to search in, with merging and naming. */

import { $, api, ask, busy, cameraName, change, counted, dayTime, el, failed, loading, may, personLink, picture, problem, say, show, state, toast } from "./common.js";
import { askName, rename, sayOfAll, takeBack } from "./correcting.js";

const PAGE = 50;
const LISTED = 10; // names of chosen people in the bar; the question before a merge lists all
const chosen = new Set(); // by name. They stay chosen while others are searched for
let running = null;

async function load(after = null, rows = null) {
  running?.abort();
  running = new AbortController();
  const place = $("list");
  if (!after) loading(place, "line", 8);
  const query = new URLSearchParams({ limit: PAGE });
  if ($("q").value.trim()) query.set("q", $("q").value.trim());
  if (after) query.set("after", after);
  try {
    const answer = await api(`/people?${query}`, { signal: running.signal });
    if (rows) more(rows, answer);
    else draw(place, answer);
  } catch (error) {
    if (after) return error.name === "AbortError" || problem(error);
    if (error.code === "not_grouped") return nobody(place, error.message);
    failed(place, error, () => load());
  }
}

function nobody(place, message) {
  const buttons = may("admin") ? [el("button", { class: "main", onclick: group }, "Group the records now")] : [];
  show(place, state("Nobody was grouped yet", message, buttons));
}

function draw(place, answer) {
  if (!answer.people.length) {
    say("Nobody found");
    const typed = $("q").value.trim();
    return show(place, typed ? state(`Nobody is called ${typed}`, "Names and numbers are searched.") : state("Nobody was grouped yet", "Group the gallery's records into people first."));
  }
  const pick = may("review");
  const head = el("tr", { role: "row" }, pick && el("th", { class: "check", role: "columnheader" }, el("span", { class: "visually-hidden" }, "Choose")), ...["Person", "Records", "Cameras", "First seen", "Last seen"].map((words) => el("th", { scope: "col", role: "columnheader", class: words === "Records" ? "number" : null }, words)), pick && el("th", { role: "columnheader" }, el("span", { class: "visually-hidden" }, "Change")));
  const rows = el("tbody", { role: "rowgroup" });
  const table = el("table", { class: "stack", role: "table", "aria-label": "People" }, el("thead", { role: "rowgroup" }, head), rows);
  show(place, el("div", { class: "panel tablepanel" }, table), el("div", { class: "more", id: "more" }));
  more(rows, answer);
}

function more(rows, answer) {
  const first = rows.children.length;
  rows.append(...answer.people.map(row));
  const button = el("button", { onclick: () => busy(button, () => load(answer.after, rows)) }, "Show more");
  $("more").replaceChildren(...(answer.after ? [button] : []));
  if (first) rows.children[first].querySelector("a").focus();
  say(`${counted(rows.children.length, "person", "people")} shown`);
}

function row(one) {
  const pick = may("review");
  const cell = (label, content, name = null) => el("td", { "data-label": label, role: "cell", class: name }, el("span", {}, content));
  const on = chosen.has(one.name);
  const box = pick && el("input", { type: "checkbox", checked: on, "aria-label": `Choose ${one.name}`, onchange: () => toggle(one.name, box.checked, made) });
  const made = el(
    "tr", { role: "row", class: on && "chosen" },
    pick && el("td", { class: "check", role: "cell" }, box),
    el("th", { scope: "row", role: "rowheader" }, el("span", { class: "named" }, el("span", { class: "face" }, picture(one.picture, "")), personLink(one.name))),
    cell("Records", one.records.toLocaleString("en"), "number"),
    cell("Cameras", one.cameras.map(cameraName).join(", ")),
    cell("First seen", dayTime(one.start)),
    cell("Last seen", dayTime(one.end)),
    pick && el("td", { class: "act", role: "cell" }, el("button", { class: "quiet", "aria-label": `Name ${one.name}`, onclick: () => name(one.name) }, "Name…")),
  );
  return made;
}

function toggle(name, on, made) {
  if (on) chosen.add(name);
  else chosen.delete(name);
  made.classList.toggle("chosen", on);
  drawChosen();
}

/* The bar stays the same while people are chosen, so that it keeps the focus, and its buttons are busy together. */
const names = el("span");
const merge = el("button", { class: "main", onclick: join }, "They are one person…");
$("selected").append(names, merge, el("button", { class: "quiet", onclick: () => busy($("selected"), () => (clear(), $("q").focus())) }, "Clear"));

function drawChosen() {
  $("selected").hidden = !chosen.size;
  const rest = chosen.size - LISTED;
  const listed = [...chosen].slice(0, LISTED).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
  names.textContent = `${counted(chosen.size, "person", "people")} chosen: ${listed}`;
  merge.disabled = chosen.size < 2;
}

function clear() {
  chosen.clear();
  for (const box of document.querySelectorAll("#list tbody input:checked")) {
    box.checked = false;
    box.closest("tr").classList.remove("chosen");
  }
  drawChosen();
}

async function join() {
  const people = [...chosen];
  const content = [
    el("p", {}, "From now on these are one person:"),
    el("ul", {}, people.map((one) => el("li", {}, one))),
    el("p", { class: "hint" }, "A name is kept; otherwise the number with more records. You can undo it."),
  ];
  if (!(await ask("Merge people", content, "Merge"))) return;
  await busy($("selected"), async () => {
    const { made, error } = await sayOfAll("same", people[0], people.slice(1));
    clear();
    await load();
    const words = error ? `Only ${made.length + 1} of ${people.length} people were merged. ${error.message}` : `${people.length} people merged.`;
    toast(words, () => takeBack(made, load));
  });
  $("q").focus();
}

async function name(person) {
  const given = await askName(person);
  if (!given) return;
  try {
    const answer = await rename(person, given.name);
    if (chosen.delete(person)) chosen.add(answer.person);
    drawChosen();
    await load();
    toast(given.name ? `${person} is now called ${given.name}.` : `${person} has no name any more.`);
    ([...document.querySelectorAll("#list tbody th a")].find((link) => link.textContent === answer.person) ?? $("q")).focus();
  } catch (error) {
    problem(error);
  }
}

/* Records that have no person yet */

async function summary() {
  try {
    const gallery = await api("/gallery");
    $("summary").textContent = `${counted(gallery.people ?? 0, "person", "people")} in ${counted(gallery.records, "record")} of ${counted(gallery.cameras.length, "camera")}.`;
    const place = $("waiting");
    place.hidden = !gallery.waiting || !gallery.people;
    const words = el("span", {}, `${counted(gallery.waiting, "record has", "records have")} no person yet.`);
    place.replaceChildren(words, may("admin") ? el("button", { onclick: group }, "Group them") : "");
  } catch { /* the list says what is wrong */ }
}

async function group(event) {
  await busy(event.currentTarget, async () => {
    say("Grouping");
    const done = await change("/people/group", { method: "POST", json: {} });
    clear(); // who is who may be another now
    toast(`${counted(done.people, "person", "people")} in ${counted(done.records, "record")}; ${counted(done.new_people, "new person", "new people")}.`);
    await Promise.all([load(), summary()]);
  });
}

let timer = 0;
$("q").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(() => load(), 200);
});
load();
summary();
