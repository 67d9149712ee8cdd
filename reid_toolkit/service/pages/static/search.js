/* Search: by pictures, by a person or by a record, with filters that show what they would leave. */

import { $, api, busy, cameraName, counted, dayAndClock, el, failed, focusOn, limits, loading, personLink, picture, problem, say, sentence, shot, show, state } from "./common.js";
import { clearFilters, countLeft, drawFilters, filterFields, hasFilters } from "./filters.js";
import { card } from "./match.js";

const FIELDS = ["since", "until", "query_camera", "group", "top_k", "false_match_rate"];
const asked = { files: [], record: null, person: null }; // what the form has now
let gallery = null;
let shown = null; // the search whose answers the page shows, or waits for

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
    const free = () => URL.revokeObjectURL(address);
    image.addEventListener("load", free);
    image.addEventListener("error", () => {
      free();
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

/* Who is chosen anew is not who a running search looks for, so nobody waits for its answers any more. */
function choose({ record = null, person = null }) {
  if (shown?.running && (record !== asked.record || person !== asked.person)) {
    leave();
    start();
  }
  Object.assign(asked, { record, person });
  if (record || person) asked.files = [];
  drawPictures();
  drawChosen();
}

/* The search. What it asks for is fixed when it begins: its answers, "Show more" and corrections are about that, whatever
   the form has by then. */

function allFields() {
  const fields = filterFields();
  for (const name of FIELDS.slice(2)) if ($(name).value) fields.append(name, $(name).value);
  if (asked.record) fields.append("record", asked.record);
  if (asked.person) fields.append("person", asked.person);
  return fields;
}

function searchOf() {
  return { ...asked, files: [...asked.files], fields: allFields(), running: false, stop: null };
}

function formOf(one, after) {
  const form = new FormData();
  for (const [name, value] of one.fields) form.append(name, value);
  for (const file of one.files) form.append("picture", file, file.name || "picture");
  if (after) form.append("after", after);
  return form;
}

const addressOf = (one) => (one.files.length ? "/" : `/?${one.fields}`);

async function search(event) {
  event.preventDefault();
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
  const one = searchOf();
  history.pushState({}, "", addressOf(one));
  await run(one, true);
}

function leave() {
  shown?.stop.abort();
  shown = null;
}

const matchesOf = (one, after) => api("/search", { method: "POST", form: formOf(one, after), signal: one.stop.signal });

async function run(one, moved) {
  leave();
  shown = Object.assign(one, { running: true, stop: new AbortController() });
  const place = $("answers");
  loading(place, "card", 8);
  say("Searching");
  try {
    const answer = await matchesOf(one);
    one.running = false;
    draw(place, answer, one);
    if (moved) focusOn(place.querySelector("h2") ?? $("resultshead"));
  } catch (error) {
    one.running = false;
    failed(place, error, () => run(one, true));
  }
  if (moved && one === shown) $("results").scrollIntoView({ block: "nearest" });
}

function draw(place, answer, one) {
  if (!answer.matches.length) {
    say("No matches");
    return show(place, nothing(one));
  }
  const list = el("ol", { class: "cards", "aria-label": "Matches" });
  const more = el("div", { class: "more" });
  const head = el("div", { class: "head" }, el("div", {}, el("h2", {}, "Matches"), el("p", {}, about(answer, one))));
  show(place, ...notes(answer), head, list, more);
  append(list, more, answer, one);
  say(`${counted(answer.matches.length, "match", "matches")}`);
}

function nothing(one) {
  if (hasFilters(one.fields)) {
    return state("No match", "No record passes the filters.", [el("button", { onclick: () => withoutFilters(one) }, "Clear the filters")]);
  }
  return state("No match", one.files.length ? "The gallery holds no records." : "The gallery holds no other records.");
}

function withoutFilters(one) {
  clearFilters(one.fields);
  history.replaceState({}, "", addressOf(one));
  run(one, true);
}

function about(answer, one) {
  const who = one.person ?? (one.record ? "this record" : one.files.length === 1 ? "the picture" : `the mean of ${one.files.length} pictures`);
  const how = answer.camera_statistics ? "with camera statistics" : "without camera statistics";
  return `${one.person ? `Other records that look like ${who}` : `Records that look like ${who}`}, nearest first, ${how}.`;
}

function notes(answer) {
  const found = [];
  if (answer.verdict === "unknown") found.push("Nobody is near enough: treat this person as unknown.");
  if (answer.doubt) found.push(sentence(answer.doubt));
  if (answer.out_of_order) found.push("A match farther down can be more likely, because each pair of cameras is judged by its own evidence.");
  if (answer.matches.every((one) => one.words === null || one.words === undefined)) found.push("There are no probabilities: the model has no calibration for this gallery. The order is still right.");
  return found.map((words) => el("p", { class: "notice" }, words));
}

function append(list, more, answer, one) {
  const first = list.children.length;
  const grouped = one.fields.get("group") === "camera";
  for (const match of answer.matches) {
    if (grouped && list.dataset.camera !== match.camera) list.append(el("li", { class: "parting" }, el("h3", {}, cameraName(match.camera))));
    list.dataset.camera = match.camera;
    list.append(card(match, grouped, one, goOnAs));
  }
  const button = el("button", { onclick: () => busy(button, async () => append(list, more, await matchesOf(one, answer.after), one)) }, "Show more");
  more.replaceChildren(...(answer.after ? [button] : []));
  if (first) {
    list.children[first].tabIndex = -1;
    list.children[first].focus();
    say(`${counted(answer.matches.length, "more match", "more matches")}`);
  }
}

/* The person of a search has another name now: two people who become one have only one of their numbers. The search may
   be an earlier one, because an answer may take minutes. Then the page is about somebody else, and stays. */
function goOnAs(one, person) {
  const before = one.person;
  if (person === before) return;
  one.person = person;
  one.fields.set("person", person);
  if (one !== shown) return;
  history.replaceState({}, "", addressOf(one));
  if (asked.person !== before) return;
  asked.person = person;
  drawChosen();
}

/* People to choose from, while somebody types */

let typing = 0;
let suggesting = null;
function suggest() {
  clearTimeout(typing);
  suggesting?.abort();
  typing = setTimeout(async () => {
    suggesting = new AbortController();
    try {
      const { people } = await api(`/people?limit=20&q=${encodeURIComponent($("person").value.trim())}`, { signal: suggesting.signal });
      $("people").replaceChildren(...people.map((one) => el("option", { value: one.name })));
    } catch { /* nobody was grouped yet: the search itself says so */ }
  }, 200);
}

/* Begin */

const defaultOf = (field) => field.defaultValue ?? [...field.options].find((one) => one.defaultSelected)?.value ?? "";

/* Back or forward: whatever the address does not say is as it was at first, and not as in the other search. */
function wentBack() {
  if (!gallery) return; // it reads the address when it has the gallery
  leave();
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
  if (asked.record || asked.person) return run(searchOf(), false);
  start();
}

/* The form is empty again, and so is the page. */
function clear() {
  leave();
  asked.files = [];
  choose({});
  complain("");
  countLeft();
  if (location.search) history.pushState({}, "", "/");
  start();
}

const FIRST = 24;
async function start() {
  if (!gallery) return; // it comes when the page has it
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
  $("search").addEventListener("reset", () => setTimeout(clear)); // after the browser has emptied the fields
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
  drawFilters(gallery);
  fromAddress();
}

if (matchMedia("(max-width: 47em)").matches) $("filters").open = false;
listen();
begin();
