/* A person: where they were and when, with corrections. */

import {
  $, api, ask, busy, cameraName, change, clockSpan, counted, dayOf, dayTime, duration, el, failed, focusOn, isDated, loading, may, picture, problem,
  shortTime, show, state, svg, timeOf, toast,
} from "./common.js";
import { askName, correctionsOf, personAddress, rename, sayOfAll, takeBack } from "./correcting.js";

const LONGEST_MOVE = 3600; // seconds, as in the routes of the API
let person = document.querySelector("main").dataset.person;
const chosen = new Set();
const address = async (rest = "") => `${await personAddress(person)}${rest}`;

async function load() {
  loading($("timeline"), "line", 5);
  try {
    draw(await api(await address()));
    compare();
  } catch (error) {
    show($("about"));
    $("tools").replaceChildren();
    failed($("timeline"), error, load);
  }
}

/* What is usual between two cameras is read from all people, so it comes after the person's own visits. */
let usual = new Map();
async function compare() {
  try {
    usual = new Map((await api("/people/routes")).routes.map((one) => [way(one.start, one.end), one]));
  } catch {
    return; // the visits are there without it
  }
  for (const place of document.querySelectorAll("#timeline [data-way]")) addUsual(place);
}
const way = (start, end) => `${start}\n${end}`;

function addUsual(place) {
  const route = usual.get(place.dataset.way);
  if (!route || route.moves < 3 || place.dataset.seconds > LONGEST_MOVE) return;
  place.textContent = ` (usually ${duration(route.median)}; ${duration(route.shortest)} to ${duration(route.longest)})`;
}

function draw(found) {
  charts.disconnect(); // those of before are gone
  chosen.clear();
  drawChosen();
  person = found.person;
  $("name").textContent = person;
  document.title = `${person} · reid`;
  drawTools();
  drawFigures(found);
  if (!found.visits.length) return show($("timeline"), state("No visits", "Nothing of this person is left in the gallery."));
  const place = el("div");
  const more = el("div", { class: "more" });
  show($("timeline"), place, more);
  append(more, inTurn(place, found.visits), found.visits.length);
}

/* A guard has thousands of visits. They are shown some at a time. */
const PART = 200;
function append(more, turn, left) {
  const focus = more.hasChildNodes();
  const made = Array.from({ length: Math.min(left, PART) }, () => turn.next().value);
  left -= made.length;
  const button = () => el("button", { onclick: () => append(more, turn, left) }, `Show more (${counted(left, "visit")} left)`);
  more.replaceChildren(...(left ? [button()] : []));
  if (focus) focusOn(made[0]);
}

/* Put one visit after the other into its place: each day has one heading, one chart and one list. */
function* inTurn(place, visits) {
  const before = new Map(visits.map((visit, at) => [visit, visits[at - 1]])); // also if a day lies between them
  for (const [day, some] of days(visits)) {
    const timed = some.filter((one) => isDated(one.start) && isDated(one.end));
    const list = el("ol", { class: "visits", "aria-label": `Visits, ${day}` });
    place.append(el("h2", { class: "day" }, day), ...(timed.length > 1 ? [chartOf(day, timed)] : []), list);
    for (const visit of some) {
      const item = visitItem(visit, transit(before.get(visit), visit));
      list.append(item);
      yield item;
    }
  }
}

function drawTools() {
  const tools = [el("a", { class: "button", href: `/?person=${encodeURIComponent(person)}` }, "Search for this person")];
  if (may("review")) tools.push(el("button", { onclick: name }, "Name…"));
  if (may("admin")) tools.push(el("button", { class: "danger", onclick: forget }, "Forget…"));
  $("tools").replaceChildren(...tools);
}

function drawFigures(found) {
  const { visits } = found;
  const number = `person-${String(found.number).padStart(6, "0")}`;
  const records = visits.reduce((sum, one) => sum + recordsOf(one).length, 0);
  const starts = visits.map((one) => one.start).filter(isDated);
  const ends = visits.map((one) => one.end).filter(isDated);
  const figures = [
    ["Visits", visits.length], ["Cameras", new Set(visits.map((one) => one.camera)).size], ["Records", records],
    ["First seen", starts.length ? dayTime(Math.min(...starts)) : "no date"], ["Last seen", ends.length ? dayTime(Math.max(...ends)) : "no date"],
    ...(number === person ? [] : [["Number", number]]),
  ];
  show($("about"), el("dl", { class: "figures" }, figures.map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value)))));
}

const recordsOf = (visit) => visit.records ?? [];

function days(visits) {
  const found = new Map();
  for (const visit of visits) {
    const day = isDated(visit.start) ? dayOf(visit.start) : visit.start === null ? "Time not known" : "Seconds from the start of a recording";
    if (!found.has(day)) found.set(day, []);
    found.get(day).push(visit);
  }
  return [...found];
}

function transit(before, visit) {
  if (!before || !isDated(visit.start) || !isDated(before.end)) return "";
  const seconds = visit.start - before.end;
  if (seconds < 0) return el("p", { class: "transit" }, `At the same time as ${cameraName(before.camera)}`);
  const often = el("span", { "data-way": way(before.camera, visit.camera), "data-seconds": seconds });
  addUsual(often);
  return el("p", { class: "transit" }, `${duration(seconds)} from ${cameraName(before.camera)}`, often);
}

function visitItem(visit, way) {
  const long = visit.start !== null && visit.end !== null ? el("span", { class: "soft" }, duration(visit.end - visit.start)) : "";
  const line = el("div", { class: "line" }, el("h3", {}, cameraName(visit.camera)), timeOf(visit.start, visit.end), long);
  const strip = el("ul", { class: "strip", "aria-label": `Pictures, camera ${cameraName(visit.camera)}` });
  fill(strip, recordsOf(visit), visit);
  return el("li", { class: "visit" }, line, strip, way);
}

/* Whoever sits before a camera all day has tens of thousands of pictures in one visit. */
const PICTURES = 60;
function fill(strip, records, visit) {
  const made = records.slice(0, PICTURES).map((record) => el("li", {}, thumb(record, visit)));
  const rest = records.slice(PICTURES);
  const further = () => {
    more.remove();
    focusOn(fill(strip, rest, visit));
  };
  const more = el("li", {}, el("button", { onclick: further }, `Show more (${counted(rest.length, "picture")} left)`));
  strip.append(...made, ...(rest.length ? [more] : []));
  return made[0];
}

function thumb(record, visit) {
  const words = `${record.tracklet}, camera ${cameraName(visit.camera)}`;
  const image = picture(record.picture, words);
  if (!may("review")) return el("div", { class: "still", title: record.tracklet }, image);
  const box = el("input", { type: "checkbox", value: record.id, "aria-label": `Choose ${words}`, onchange: () => toggle(record.id, box.checked) });
  return el("label", { title: record.tracklet }, image, el("span", { class: "tick" }, box, el("span", { "aria-hidden": "true" }, record.tracklet)));
}

/* Drawn anew when the window gets wider or narrower, so that its words keep their size. */
const drawn = new WeakMap(); // how to draw each chart, and how wide it is
const charts = new ResizeObserver((changes) => {
  for (const { target, contentRect } of changes) {
    const [now, chart] = [Math.round(contentRect.width), drawn.get(target)];
    if (Math.abs(now - chart.wide) < 8) continue;
    chart.wide = now;
    target.replaceChildren(lanes(chart.day, chart.visits, now));
  }
});

function chartOf(day, visits) {
  const place = el("div", { class: "panel chart" });
  drawn.set(place, { day, visits, wide: 0 });
  charts.observe(place);
  return place;
}

/* Stretches of time with visits. Between two of them nobody was seen for long, and the chart is shorter there. */
const PAUSE = 900;
function stretches(visits) {
  const found = [];
  for (const one of [...visits].sort((first, second) => first.start - second.start)) {
    const last = found.at(-1);
    if (last && one.start - last.end < PAUSE) last.end = Math.max(last.end, one.end);
    else found.push({ start: one.start, end: one.end });
  }
  return found;
}

/* Where a time is, in a chart from ``left`` to ``right``. */
function scaleOf(visits, left, right, size) {
  const parts = stretches(visits);
  const gap = parts.length > 1 ? Math.min(size * 7.8, ((right - left) * 0.5) / (parts.length - 1)) : 0;
  const seconds = parts.reduce((sum, one) => sum + Math.max(one.end - one.start, 60), 0);
  const wide = right - left - gap * (parts.length - 1);
  let at = left;
  for (const one of parts) {
    one.from = at;
    one.to = at + (wide * Math.max(one.end - one.start, 60)) / seconds;
    at = one.to + gap;
  }
  const x = (time) => {
    const part = parts.findLast((one) => time >= one.start) ?? parts[0];
    return part.from + ((part.to - part.from) * (time - part.start)) / Math.max(part.end - part.start, 60);
  };
  return { x, parts, gap };
}

/* A lane for each camera, and time from left to right. The list below says the same in words. */
function lanes(day, visits, width) {
  const cameras = [...new Set(visits.map((one) => one.camera))];
  const size = parseFloat(getComputedStyle(document.documentElement).fontSize) * 0.82;
  const letters = Math.max(4, Math.floor(width / size / 4));
  const short = (name) => (name.length > letters ? `${name.slice(0, letters - 1)}…` : name);
  const longest = Math.max(...cameras.map((one) => short(cameraName(one)).length));
  const [left, high, top] = [size * (1.5 + 0.6 * longest), size * 2.1, size / 2];
  const { x, parts, gap } = scaleOf(visits, left, width - size, size);
  const y = (camera) => top + high * cameras.indexOf(camera) + high / 2;
  const [bottom, height] = [top + high * cameras.length, top + high * cameras.length + size * 2];
  const label = `${counted(visits.length, "visit")} to ${counted(cameras.length, "camera")}, ${day}`;
  const chart = svg("svg", { class: "lanes", viewBox: `0 0 ${width} ${height}`, width, height, "font-size": size, role: "img", "aria-label": label });
  const write = (words, at, row, anchor) => {
    const text = svg("text", { x: at, y: row, "text-anchor": anchor });
    text.textContent = words;
    chart.append(text);
  };
  for (const [at, one] of parts.entries()) {
    if (!at) continue;
    chart.append(svg("rect", { class: "gap", x: parts[at - 1].to + size * 0.8, y: top, width: Math.max(gap - size * 1.6, 1), height: bottom - top, rx: 3 }));
    if (gap > size * 6.5) write(duration(one.start - parts[at - 1].end), parts[at - 1].to + gap / 2, (top + bottom) / 2 + size / 3, "middle");
  }
  for (const camera of cameras) {
    write(short(cameraName(camera)), 0, y(camera) + size / 3, "start");
    chart.append(...parts.map((one) => svg("line", { class: "lane", x1: one.from, x2: one.to, y1: y(camera), y2: y(camera) })));
  }
  const end = parts.at(-1);
  const room = size * 3.4;
  let free = left;
  for (const one of parts) {
    if (one.from < free || (one !== parts[0] && one.from > width - 2 * room)) continue;
    write(shortTime(one.start), one.from, height - size * 0.4, "start");
    free = one.from + room;
  }
  if (end.to - room > free) write(shortTime(end.end), end.to, height - size * 0.4, "end");
  for (const part of parts) {
    const inside = visits.filter((one) => one.start >= part.start && one.end <= part.end);
    chart.append(svg("polyline", { class: "path", points: inside.map((one) => `${x(one.start)},${y(one.camera)} ${x(one.end)},${y(one.camera)}`).join(" ") }));
  }
  for (const one of visits) {
    const title = svg("title", {});
    title.textContent = `${cameraName(one.camera)}, ${clockSpan(one.start, one.end)}`;
    chart.append(svg("rect", { x: x(one.start) - 3, y: y(one.camera) - size * 0.6, width: Math.max(x(one.end) - x(one.start), 0) + 6, height: size * 1.2, rx: 3 }, title));
  }
  return chart;
}

/* Corrections */

function toggle(id, on) {
  if (on) chosen.add(id);
  else chosen.delete(id);
  drawChosen();
}

/* The bar stays the same while pictures are chosen, so that it keeps the focus, and its buttons are busy together. */
const count = el("span");
const other = el("button", { onclick: notThis });
$("selected").append(count, el("button", { class: "main", onclick: split }, "Make a new person of them"), other, el("button", { class: "quiet", onclick: () => busy($("selected"), clear) }, "Clear"));

function drawChosen() {
  $("selected").hidden = !chosen.size;
  count.textContent = `${counted(chosen.size, "picture")} chosen`;
  other.textContent = `Not ${person}`;
}

function clear() {
  const boxes = [...document.querySelectorAll("#timeline input:checked")];
  for (const box of boxes) box.checked = false;
  chosen.clear();
  drawChosen();
  boxes[0]?.focus();
}

function split() {
  return busy($("selected"), async () => {
    const records = [...chosen];
    const answer = await change(await address("/split"), { method: "POST", json: { records } });
    await load();
    const made = correctionsOf(answer);
    toast(`${counted(records.length, "record is", "records are")} now ${answer.person ?? "a new person"}.`, () => takeBack(made, load));
    focusOn($("name"));
  });
}

function notThis() {
  return busy($("selected"), async () => {
    const before = person;
    const { made, error } = await sayOfAll("not", person, [...chosen]);
    await load();
    const words = `Stored: ${counted(made.length, "record does", "records do")} not show ${before}.`;
    toast(error ? `${words} Then something failed. ${error.message}` : words, () => takeBack(made, load));
    focusOn($("name"));
  });
}

async function name() {
  const given = await askName(person);
  if (!given) return;
  try {
    const answer = await rename(person, given.name);
    const before = person;
    person = answer?.person ?? answer?.name ?? given.name ?? before;
    history.replaceState({}, "", `/people/${encodeURIComponent(person)}`);
    await load();
    toast(given.name ? `${before} is now called ${person}.` : `${before} has no name any more.`);
    focusOn($("name"));
  } catch (error) {
    problem(error);
  }
}

async function forget(event) {
  const button = event.currentTarget;
  const content = [el("p", {}, `All records of ${person} are deleted for good, with the name and all links. They are not enrolled again. This cannot be undone.`)];
  if (!(await ask(`Forget ${person}?`, content, "Forget for good", { danger: true }))) return;
  await busy(button, async () => {
    await change(await address(), { method: "DELETE" });
    location.assign("/people");
  });
}

load();
