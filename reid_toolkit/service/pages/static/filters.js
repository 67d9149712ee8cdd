/* The filters of a search, and how many records they would leave, in all and for each camera. */

import { $, api, cameraName, counted, el } from "./common.js";

const FILTERS = ["camera", "tag", "source", "since", "until"];
const MOST_SOURCES = 50; // a gallery of single crops has a source for each
let gallery = null;

const checked = (id) => [...$(id).querySelectorAll("input:checked")].map((box) => box.value);

export function filterFields() {
  const fields = new URLSearchParams();
  for (const camera of checked("cameras")) fields.append("camera", camera);
  for (const tag of checked("tags")) fields.append("tag", tag);
  for (const source of checked("sources")) fields.append("source", source);
  for (const name of ["since", "until"]) if ($(name).value) fields.append(name, $(name).value);
  return fields;
}

export function drawFilters(found) {
  gallery = found;
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
/* Show how many records the filters leave, a moment after the last change of them. */
export function countLeft() {
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

export const hasFilters = (fields) => FILTERS.some((name) => fields.has(name));

/* Without filters: in the form, and in the fields of a search. */
export function clearFilters(fields) {
  for (const box of $("filters").querySelectorAll("input:checked")) box.checked = false;
  for (const name of ["since", "until"]) $(name).value = "";
  for (const name of FILTERS) fields.delete(name);
  countLeft();
}
