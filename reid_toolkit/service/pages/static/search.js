/* Search: by pictures, by a person or by a record, with filters that show what they would leave. */

import {
  $, api, busy, cameraName, change, counted, dayAndClock, el, failed, focusOn, fullSpan, limits, loading, may, personLink, picture, problem, say,
  sentence, shot, show, state, toast,
} from "./common.js";
import { correctionsOf, undoAll } from "./correcting.js";

const FIELDS = ["since", "until", "query_camera", "group", "top_k", "false_match_rate"];
const MOST_SOURCES = 50; // a gallery of single crops has a source for each
const asked = { files: [], record: null, person: null };
let gallery = null;
let shown = null; // what the results on the page were asked for

/* The query */

function addPictures(files) {
  const complaints = [];
  for (const file of files) {
    if (!file.type.startsWith("image/")) complaints.push(`${file.name || "this"} is not a picture.`);
    else if (limits.bytes && file.size > limits.bytes) complaints.push(`${file.name} is larger than ${Math.round(limits.bytes / 1e6)} MB.`);
    else if (limits.all && file.size + asked.files.reduce((sum, one) => sum + one.size, 0) > limits.all) {
      complaints.push(`The pictures together are larger than ${Math.round(limits.all / 1e6)} MB.`);
      break;
    } else if (limits.pictures && asked.files.length >= limits.pictures) {
      complaints.push(`At most ${limits.pictures} pictures can be searched for at once.`);
      break;
    } else asked.files.push(file);
  }
  if (files.length && !complaints.length) say(`${counted(asked.files.length, "picture")} chosen`);
  complain(complaints.join(" "));
  $("person").value = "";
  drawPictures();
}

function complain(words) {
  $("pictureproblem").hidden = !words;
  $("pictureproblem").textContent = words;
}

function drawPictures() {
  const items = asked.files.map((file, at) => {
    const name = file.name || `picture ${at + 1}`;
    const address = URL.createObjectURL(file);
    const image = el("img", { src: address, alt: name });
    const item = el("li", {}, image, el("button", { type: "button", "aria-label": `Remove ${name}`, onclick: () => removePicture(at) }, "×"));
    image.addEventListener("load", () => URL.revokeObjectURL(address));
    image.addEventListener("error", () => {
      item.className = "bad";
      image.replaceWith(el("span", { class: "blank" }, "cannot be shown"));
    });
    return item;
  });
  $("picked").replaceChildren(...items);
}

function removePicture(at) {
  asked.files.splice(at, 1);
  complain("");
  drawPictures();
  ($("picked").querySelectorAll("button")[at] ?? $("pictures")).focus();
}

function drawChosen() {
  const { record, person } = asked;
  const place = $("chosen");
  place.hidden = !record && !person;
  $("ways").hidden = !place.hidden;
  if (place.hidden) return place.replaceChildren();
  const words = el("span", {}, person ? personLink(person) : el("b", {}, "A record of the gallery"));
  const change = el("button", { type: "button", class: "quiet", onclick: () => (choose({}), $("pictures").focus()) }, "Change");
  const image = record && picture(`/api/v1/records/${encodeURIComponent(record)}/picture`, "the record that is searched for");
  place.replaceChildren(el("div", { class: "chip" }, image || "", words, change));
  if (record) describeRecord(record, words);
}

async function describeRecord(record, words) {
  try {
    const one = await api(`/records/${encodeURIComponent(record)}`);
    words.replaceChildren(el("b", {}, cameraName(one.camera)), el("br"), dayAndClock(one.start, one.end), ...(one.person ? [el("br"), personLink(one.person)] : []));
  } catch (error) {
    if (error.status !== 401) problem(error);
  }
}

function choose({ record = null, person = null }) {
  Object.assign(asked, { record, person });
  if (record || person) asked.files = [];
  drawPictures();
  drawChosen();
}

/* The filters */

const checked = (id) => [...$(id).querySelectorAll("input:checked")].map((box) => box.value);

function filterFields() {
  const fields = new URLSearchParams();
  for (const camera of checked("cameras")) fields.append("camera", camera);
  for (const tag of checked("tags")) fields.append("tag", tag);
  for (const source of checked("sources")) fields.append("source", source);
  for (const name of ["since", "until"]) if ($(name).value) fields.append(name, $(name).value);
  return fields;
}

function allFields() {
  const fields = filterFields();
  for (const name of FIELDS.slice(2)) if ($(name).value) fields.append(name, $(name).value);
  if (asked.record) fields.append("record", asked.record);
  if (asked.person) fields.append("person", asked.person);
  return fields;
}

function drawFilters() {
  const box = (name, count, words = name) =>
    el("label", { class: "box" }, el("input", { type: "checkbox", value: name }), el("span", {}, words), el("span", { class: "number", "data-camera": name }, count.toLocaleString("en")));
  $("cameras").replaceChildren(...gallery.cameras.map((one) => box(one.name, one.records, cameraName(one.name))));
  $("query_camera").append(...gallery.cameras.filter((one) => one.name).map((one) => el("option", {}, one.name)));
  $("tagsfield").hidden = !gallery.tags.length;
  $("tags").replaceChildren(
    ...gallery.tags.map((tag) => el("label", { class: "box" }, el("input", { type: "checkbox", value: tag.name ?? tag }), el("span", {}, tag.name ?? tag))),
  );
  const few = gallery.sources.length > 1 && gallery.sources.length <= MOST_SOURCES;
  $("sourcesfield").hidden = !few;
  $("sources").replaceChildren(
    ...(few ? gallery.sources : []).map((one) =>
      el("label", { class: "box" }, el("input", { type: "checkbox", value: one.id }), el("span", {}, one.label), el("span", { class: "number" }, one.records.toLocaleString("en"))),
    ),
  );
  countAll();
}

function countAll() {
  $("left").textContent = `${counted(gallery.records, "record")} in the gallery.`;
  const records = new Map(gallery.cameras.map((one) => [one.name, one.records]));
  for (const place of $("cameras").querySelectorAll("[data-camera]")) place.textContent = records.get(place.dataset.camera).toLocaleString("en");
}

let counting = null;
let timer = 0;
function countLeft() {
  clearTimeout(timer);
  counting?.abort();
  if (gallery && !filterFields().size) return countAll();
  timer = setTimeout(async () => {
    counting = new AbortController();
    try {
      const left = await api(`/search/filters?${filterFields()}`, { signal: counting.signal });
      const total = gallery?.records ?? left.records;
      $("left").textContent = left.records ? `${left.records.toLocaleString("en")} of ${counted(total, "record")} pass the filters.` : "No record passes these filters.";
      for (const place of $("cameras").querySelectorAll("[data-camera]")) place.textContent = (left.by_camera[place.dataset.camera] ?? 0).toLocaleString("en");
    } catch (error) {
      if (error.name !== "AbortError") $("left").textContent = error.message;
    }
  }, 250);
}

/* The search */

function formOf(fields, after) {
  const form = new FormData();
  for (const [name, value] of fields) form.append(name, value);
  for (const file of asked.files) form.append("picture", file, file.name || "picture");
  if (after) form.append("after", after);
  return form;
}

async function search(event) {
  event?.preventDefault();
  const typed = $("person").value.trim();
  if (typed && asked.files.length) {
    complain("Choose either pictures or a person, not both.");
    return $("person").focus();
  }
  if (!asked.record && !asked.person && typed) choose({ person: typed });
  if (!asked.files.length && !asked.record && !asked.person) {
    complain("Choose a picture or a person first.");
    return $("pictures").focus();
  }
  complain("");
  const fields = allFields();
  const address = asked.files.length ? "/" : `/?${fields}`;
  if (event) history.pushState({}, "", address);
  await run(fields, Boolean(event));
}

let running = null;
async function run(fields, moved) {
  running?.abort();
  running = new AbortController();
  const place = $("answers");
  loading(place, "card", 8);
  say("Searching");
  try {
    const answer = await api("/search", { method: "POST", form: formOf(fields), signal: running.signal });
    shown = { fields, person: asked.person };
    draw(place, answer);
    const heading = place.querySelector("h2") ?? $("resultshead");
    if (moved) {
      focusOn(heading);
      $("results").scrollIntoView({ block: "nearest" });
    }
  } catch (error) {
    if (error.status >= 400 && error.status < 500 && error.status !== 401 && error.status !== 403 && error.status !== 429) complain(error.message);
    failed(place, error, () => run(fields, true));
  }
}

function draw(place, answer) {
  if (!answer.matches.length) {
    say("No matches");
    return show(place, state("No match", "No record passes the filters.", [el("button", { onclick: clearFilters }, "Clear the filters")]));
  }
  const list = el("ol", { class: "cards", "aria-label": "Matches" });
  const more = el("div", { class: "more" });
  const head = el("div", { class: "head" }, el("div", {}, el("h2", {}, "Matches"), el("p", {}, about(answer))));
  show(place, ...notes(answer), head, list, more);
  append(list, more, answer);
  say(`${counted(answer.matches.length, "match", "matches")}`);
}

function clearFilters() {
  for (const box of $("filters").querySelectorAll("input:checked")) box.checked = false;
  for (const name of ["since", "until"]) $(name).value = "";
  countLeft();
  run(allFields(), true);
}

function about(answer) {
  const who = asked.person ?? (asked.record ? "this record" : asked.files.length === 1 ? "the picture" : `the mean of ${asked.files.length} pictures`);
  const how = answer.camera_statistics ? "with camera statistics" : "without camera statistics";
  return `${asked.person ? `Other records that look like ${who}` : `Records that look like ${who}`}, nearest first, ${how}.`;
}

function notes(answer) {
  const found = [];
  if (answer.verdict === "unknown") found.push("Nobody is near enough: treat this person as unknown.");
  if (answer.doubt) found.push(sentence(answer.doubt));
  if (answer.out_of_order) found.push("A match farther down can be more likely, because each pair of cameras is judged by its own evidence.");
  if (answer.matches.every((one) => one.words === null || one.words === undefined)) found.push("There are no probabilities: the model has no calibration for this gallery. The order is still right.");
  return found.map((words) => el("p", { class: "notice" }, words));
}

function append(list, more, answer) {
  const first = list.children.length;
  const grouped = shown.fields.get("group") === "camera";
  for (const match of answer.matches) {
    if (grouped && list.dataset.camera !== match.camera) list.append(el("li", { class: "parting" }, el("h3", {}, cameraName(match.camera))));
    list.dataset.camera = match.camera;
    list.append(card(match, grouped));
  }
  const button = el("button", { onclick: () => next(list, more, answer.after, button) }, "Show more");
  more.replaceChildren(...(answer.after ? [button] : []));
  if (first) {
    list.children[first].tabIndex = -1;
    list.children[first].focus();
    say(`${counted(answer.matches.length, "more match", "more matches")}`);
  }
}

function next(list, more, after, button) {
  return busy(button, async () => {
    const answer = await api("/search", { method: "POST", form: formOf(shown.fields, after) });
    append(list, more, answer);
  });
}

/* A match */

const WORDS = { likely: "Likely", uncertain: "Uncertain", unknown: "Unknown" };
const BASES = {
  "camera pair": "pairs of these two cameras", pooled: "pairs of all cameras",
  "one camera": "pairs within one camera only, which is weak", "same picture": "it is the same picture",
};

function percent(probability) {
  const share = 100 * probability;
  return share > 99 ? "over 99%" : share < 1 ? "under 1%" : `${Math.round(share)}%`;
}

function card(match, grouped) {
  const words = `match ${match.rank}${grouped ? ` of camera ${cameraName(match.camera)}` : ""}, camera ${cameraName(match.camera)}, ${fullSpan(match.start, match.end)}`;
  const body = el("div", { class: "body" });
  if (WORDS[match.words]) body.append(el("span", { class: `word ${match.words}` }, WORDS[match.words]));
  body.append(match.person ? personLink(match.person) : el("span", { class: "soft" }, "No person yet"));
  body.append(el("span", {}, cameraName(match.camera)), dayAndClock(match.start, match.end));
  const item = el("li", { class: "card" }, shot(match.picture, words, el("span", { class: "rank", "aria-hidden": "true" }, match.rank)), body, evidence(match));
  const buttons = el("div", { class: "buttons" }, el("a", { class: "button", href: `/?record=${encodeURIComponent(match.id)}`, "aria-label": `Who is this? Match ${match.rank}` }, "Who is this?"));
  if (shown.person && may("review")) answers(match, item, buttons);
  item.append(buttons);
  return item;
}

function evidence(match) {
  const facts = [];
  if (match.probability !== null && match.probability !== undefined) facts.push(["Probability", percent(match.probability)]);
  if (BASES[match.basis]) facts.push(["Judged by", BASES[match.basis]]);
  facts.push(["Distance", match.distance.toFixed(3)], ["Tracklet", match.tracklet]);
  if (match.crops) facts.push(["Crops found", match.crops]);
  if (match.tags?.length) facts.push(["Tags", match.tags.join(", ")]);
  if (match.source) facts.push(["Source", match.source]);
  return el("details", {}, el("summary", {}, "Evidence", el("span", { class: "visually-hidden" }, ` for match ${match.rank}`)), el("dl", { class: "facts" }, facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))])));
}

/* Same or not: the chosen person, and the record of a match */
function answers(match, item, buttons) {
  const give = (kind, words) => async (event) => {
    await busy(event.currentTarget, async () => {
      const person = shown.person; // an answer to another match may have changed it
      const answer = await change(`/people/${kind}`, { method: "POST", json: { first: person, second: match.id } });
      const made = correctionsOf(answer);
      const now = answer.person ?? person;
      goOnAs(now);
      item.classList.add("chosen");
      const before = [...buttons.children];
      const undone = async () => {
        try {
          await undoAll(made);
          if (now !== person) goOnAs(person);
          item.classList.remove("chosen");
          buttons.replaceChildren(...before);
          say("Undone");
        } catch (error) {
          problem(error);
        }
      };
      buttons.replaceChildren(el("span", { class: "soft" }, words), el("button", { class: "quiet", onclick: undone }, "Undo"));
      buttons.lastChild.focus();
      toast(`${words}: match ${match.rank} and ${person}.`, undone);
    });
  };
  buttons.append(
    el("button", { onclick: give("same", "Same person"), "aria-label": `Same person: match ${match.rank}` }, "Same"),
    el("button", { onclick: give("not", "Another person"), "aria-label": `Not this person: match ${match.rank}` }, "Not"),
  );
}

/* The person of the search has another name now: two people who become one have only one of their numbers. */
function goOnAs(person) {
  if (person === shown.person) return;
  if (asked.person === shown.person) {
    choose({ person });
    history.replaceState({}, "", `/?${allFields()}`);
  }
  shown.person = person;
  shown.fields.set("person", person);
}

/* People to choose from, while somebody types */

let typing = 0;
function suggest() {
  clearTimeout(typing);
  typing = setTimeout(async () => {
    try {
      const { people } = await api(`/people?limit=20&q=${encodeURIComponent($("person").value.trim())}`);
      $("people").replaceChildren(...people.map((one) => el("option", { value: one.name })));
    } catch { /* nobody was grouped yet: the search itself says so */ }
  }, 200);
}

/* Begin */

const defaultOf = (field) => field.defaultValue ?? [...field.options].find((one) => one.defaultSelected)?.value ?? "";

/* Back or forward: whatever the address does not say is as it was at first, and not as in the other search. */
function wentBack() {
  if (!gallery) return; // it reads the address when it has the gallery
  running?.abort();
  complain("");
  $("person").value = "";
  for (const name of FIELDS) $(name).value = defaultOf($(name));
  fromAddress();
  countLeft();
}

function fromAddress() {
  const given = new URLSearchParams(location.search);
  choose({ record: given.get("record"), person: given.get("person") });
  for (const name of FIELDS) if (given.has(name)) $(name).value = given.get(name);
  for (const id of ["camera", "tag", "source"]) {
    const chosen = new Set(given.getAll(id));
    for (const box of $(`${id}s`).querySelectorAll("input")) box.checked = chosen.has(box.value);
  }
  if (filterFields().size) countLeft();
  if (asked.record || asked.person) return run(allFields(), false);
  start();
}

const FIRST = 24;
async function start() {
  const place = $("answers");
  if (!gallery.records) return show(place, state("Nobody is here yet", "The gallery is empty. Fill it with `reid enroll` or `reid watch`, and people appear here."));
  const grouped = gallery.people ? ` and ${counted(gallery.people, "person", "people")}` : "";
  const text = `The gallery holds ${counted(gallery.records, "record")} of ${counted(gallery.cameras.length, "camera")}${grouped}. Choose a picture of somebody, and see who it was and where they went.`;
  const welcome = state("Whom are you looking for?", text);
  show(place, welcome);
  if (!gallery.people) return;
  try {
    const { people } = await api(`/people?limit=${FIRST}`);
    if (!welcome.isConnected) return;
    const faces = people.map((one) => el("li", {}, el("a", { href: `/people/${encodeURIComponent(one.name)}` }, shot(one.picture, ""), one.name, el("span", { class: "soft" }, counted(one.records, "record")))));
    place.append(el("section", { "aria-labelledby": "faceshead" }, el("h2", { id: "faceshead" }, "People of the gallery"), el("ul", { class: "faces" }, faces)));
  } catch { /* the page of people says what is wrong */ }
}

function listen() {
  $("search").addEventListener("submit", search);
  $("search").addEventListener("reset", () => setTimeout(() => {
    choose({});
    complain("");
    countLeft();
  }));
  $("filters").addEventListener("change", countLeft);
  $("pictures").addEventListener("change", () => {
    addPictures([...$("pictures").files]);
    $("pictures").value = "";
  });
  $("person").addEventListener("input", suggest);
  $("person").addEventListener("focus", suggest, { once: true });
  document.addEventListener("paste", (event) => {
    if (!event.clipboardData?.files.length) return;
    event.preventDefault();
    choose({});
    addPictures([...event.clipboardData.files]);
  });
  let depth = 0;
  const over = (change) => (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    depth = change === 0 ? 0 : Math.max(0, depth + change);
    document.body.classList.toggle("dropping", depth > 0);
  };
  document.addEventListener("dragenter", over(1));
  document.addEventListener("dragleave", over(-1));
  document.addEventListener("dragover", (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    over(0)(event);
    choose({});
    addPictures([...event.dataTransfer.files]);
  });
  window.addEventListener("popstate", wentBack);
}

async function begin() {
  loading($("answers"), "line", 3);
  try {
    gallery = await api("/gallery");
  } catch (error) {
    return failed($("answers"), error, begin);
  }
  drawFilters();
  fromAddress();
}

if (matchMedia("(max-width: 47em)").matches) $("filters").open = false;
listen();
begin();
