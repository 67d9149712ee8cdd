/* Days: how many different people, by hour and camera. */

import { $, api, cameraName, counted, el, failed, loading, say, show, state, svg } from "./common.js";

const UNDATED = "no date";
let counts = null;

async function load() {
  const place = $("day");
  loading(place, "line", 5);
  try {
    const [day, hour, both, cameras] = await Promise.all(["day", "hour", "hour,camera", "day,camera"].map((by) => api(`/people/count?by=${by}`)));
    counts = { day: day.counts, hour: hour.counts, both: both.counts, cameras: cameras.counts };
    choices();
  } catch (error) {
    failed(place, error, load);
  }
}

function choices() {
  const days = counts.day.map((one) => one.day);
  if (!days.length) return show($("day"), state("No days yet", "Days need people, and records with dates."));
  const wanted = new URLSearchParams(location.search).get("day");
  const select = el("select", { id: "which" }, [...days].reverse().map((day) => el("option", { value: day }, nameOf(day))));
  select.value = days.includes(wanted) ? wanted : days.filter((day) => day !== UNDATED).at(-1) ?? days.at(-1);
  const move = (step) => (event) => {
    if (event.currentTarget.getAttribute("aria-disabled") === "true") return;
    select.selectedIndex -= step;
    changed();
  };
  const earlier = el("button", { "aria-label": "The day before", onclick: move(-1) }, "←");
  const later = el("button", { "aria-label": "The day after", onclick: move(1) }, "→");
  const changed = () => {
    history.replaceState({}, "", `/days?day=${encodeURIComponent(select.value)}`);
    // Not "disabled": that would take the focus away from whoever pressed it.
    earlier.setAttribute("aria-disabled", String(select.selectedIndex === days.length - 1));
    later.setAttribute("aria-disabled", String(select.selectedIndex === 0));
    draw(select.value);
  };
  select.addEventListener("change", changed);
  $("tools").replaceChildren(el("div", { class: "field" }, el("label", { for: "which" }, "Day"), select), earlier, later);
  changed();
}

function nameOf(day) {
  if (day === UNDATED) return "Without a date";
  return new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "long", year: "numeric", timeZone: "UTC" }).format(new Date(`${day}T00:00Z`));
}

const between = (one) => (one.low === one.high ? `${one.low}` : `${one.low}–${one.high}`);

function draw(day) {
  const total = counts.day.find((one) => one.day === day);
  const cameras = counts.cameras.filter((one) => one.day === day);
  const figures = el(
    "dl", { class: "figures" },
    el("div", {}, el("dt", {}, "Different people"), el("dd", {}, total.people.toLocaleString("en"), total.low < total.high && el("span", { class: "hint" }, ` between ${between(total)}`))),
    el("div", {}, el("dt", {}, "Records"), el("dd", {}, total.records.toLocaleString("en"))),
    el("div", {}, el("dt", {}, "Cameras"), el("dd", {}, String(cameras.length))),
  );
  const hours = day === UNDATED ? [] : [el("section", { class: "panel", "aria-labelledby": "hourshead" }, el("h2", { id: "hourshead" }, "People by hour"), byHour(day))];
  show($("day"), figures, ...hours, el("section", { "aria-labelledby": "camerashead" }, el("h2", { id: "camerashead" }, "People by camera"), byCamera(day, cameras)));
  say(`${nameOf(day)}: ${counted(total.people, "person", "people")}`);
}

const hourOf = (one) => Number(one.hour.slice(11, 13));

/* By hour. The hour in which clocks are set back comes twice: its column shows the one with more people. */
function byHourOf(rows) {
  const found = new Map();
  for (const one of rows) if (!(found.get(hourOf(one))?.people > one.people)) found.set(hourOf(one), one);
  return found;
}

function range(day) {
  const found = counts.hour.filter((one) => one.hour.startsWith(day)).map(hourOf);
  const first = Math.max(0, Math.min(...found) - 1);
  const last = Math.min(23, Math.max(first + 9, Math.max(...found) + 1));
  return Array.from({ length: last - first + 1 }, (_, at) => first + at);
}

function byHour(day) {
  const found = byHourOf(counts.hour.filter((one) => one.hour.startsWith(day)));
  const most = Math.max(1, ...[...found.values()].map((one) => one.people));
  const items = range(day).map((hour) => {
    const one = found.get(hour);
    const column = el("div", { class: "column" }, one && el("span", { "aria-hidden": "true" }, String(one.people)));
    column.style.height = `${one ? (100 * one.people) / most : 0}%`;
    const label = String(hour).padStart(2, "0");
    const words = one ? `${label}:00: ${counted(one.people, "person", "people")}, between ${between(one)}` : `${label}:00: nobody`;
    return el("li", { class: one ? "" : "none", title: words }, el("span", { class: "visually-hidden" }, words), column, el("span", { class: "hour", "aria-hidden": "true" }, label));
  });
  return el("ol", { class: "hours" }, items);
}

function byCamera(day, cameras) {
  if (!cameras.length) return state("No cameras", "No camera saw anybody.");
  const rows = [...cameras].sort((one, other) => other.people - one.people).map((one) => {
    const cell = (label, content, name = null) => el("td", { role: "cell", "data-label": label, class: name }, el("span", {}, content));
    return el(
      "tr", { role: "row" },
      el("th", { scope: "row", role: "rowheader" }, cameraName(one.camera)),
      cell("People", one.people.toLocaleString("en"), "number"), cell("Between", between(one), "number"), cell("Records", one.records.toLocaleString("en"), "number"),
      day === UNDATED ? null : cell("By hour", spark(day, one.camera)),
    );
  });
  const names = ["Camera", "People", "Between", "Records", ...(day === UNDATED ? [] : ["By hour"])];
  const head = el("tr", { role: "row" }, names.map((words) => el("th", { scope: "col", role: "columnheader", class: ["People", "Between", "Records"].includes(words) ? "number" : null }, words)));
  return el("div", { class: "panel tablepanel" }, el("table", { class: "stack", role: "table", "aria-label": "People by camera" }, el("thead", { role: "rowgroup" }, head), el("tbody", { role: "rowgroup" }, rows)));
}

function spark(day, camera) {
  const rows = byHourOf(counts.both.filter((one) => one.camera === camera && one.hour.startsWith(day)));
  const found = new Map([...rows].map(([hour, one]) => [hour, one.people]));
  const hours = range(day);
  const most = Math.max(1, ...found.values());
  const words = [...found].map(([hour, people]) => `${String(hour).padStart(2, "0")}:00 ${people}`).join(", ");
  const chart = svg("svg", { class: "spark", viewBox: `0 0 ${hours.length * 10} 24`, preserveAspectRatio: "none", role: "img", "aria-label": words });
  hours.forEach((hour, at) => {
    const high = found.has(hour) ? Math.max(2, (24 * found.get(hour)) / most) : 1;
    chart.append(svg("rect", { class: found.has(hour) ? "" : "none", x: at * 10 + 1, y: 24 - high, width: 8, height: high }));
  });
  return chart;
}

load();
