/* Cameras: what each has in the gallery, and what is known of its light. */

import { $, api, cameraName, counted, dayTime, duration, el, failed, loading, show, state } from "./common.js";

function table(label, columns, rows) {
  const head = el("tr", { role: "row" }, columns.map(([words, number]) => el("th", { scope: "col", role: "columnheader", class: number && "number" }, words)));
  const bodyRows = rows.map((cells) =>
    el("tr", { role: "row" }, cells.map((cell, at) => (at ? el("td", { role: "cell", "data-label": columns[at][0], class: columns[at][1] && "number" }, el("span", {}, cell)) : el("th", { scope: "row", role: "rowheader" }, cell)))),
  );
  return el("div", { class: "panel tablepanel" }, el("table", { class: "stack", role: "table", "aria-label": label }, el("thead", { role: "rowgroup" }, head), el("tbody", { role: "rowgroup" }, bodyRows)));
}

async function cameras() {
  const place = $("cameras");
  loading(place, "line", 4);
  try {
    const [gallery, held] = await Promise.all([api("/gallery"), api("/cameras")]);
    if (!gallery.cameras.length) return show(place, state("No cameras yet", "The gallery is empty. Fill it with `reid enroll` or `reid watch`."));
    const fits = new Map(held.cameras.map((one) => [one.camera, one]));
    const rows = gallery.cameras.map((one) => {
      const fit = fits.get(one.name);
      const known = fit ? [counted(fit.tracklets, "tracklet"), String(Math.round(fit.people)), `${Math.round(100 * fit.weight)}%`, fit.distance.toFixed(3)] : ["–", "–", "–", "–"];
      return [cameraName(one.name), one.records.toLocaleString("en"), dayTime(one.first), dayTime(one.last), ...known];
    });
    const columns = [["Camera"], ["Records", true], ["First"], ["Last"], ["Fitted to", true], ["People, about", true], ["Own mean", true], ["Bias", true]];
    const about = held.statistics ? `Camera statistics version ${held.statistics.version}: searches take each camera's light and angle into account.` : "There are no camera statistics yet: they need two cameras with ten tracklets of different people each.";
    $("summary").textContent = `${counted(gallery.cameras.length, "camera")}, ${counted(gallery.records, "record")}. ${about}`;
    const words = el("p", { class: "hint" }, "Own mean: how much of its own mean a camera uses; the rest is the mean of all cameras. Bias: how far the camera's mean lies from the mean of all cameras.");
    show(place, table("Cameras", columns, rows), ...(held.statistics ? [words] : []));
  } catch (error) {
    failed(place, error, cameras);
  }
}

async function routes() {
  const place = $("routes");
  loading(place, "line", 3);
  try {
    const found = (await api("/people/routes")).routes;
    if (!found.length) return show(place, state("No ways yet", "They need people in two cameras, and records with dates."));
    const rows = found.map((one) => [`${cameraName(one.start)} → ${cameraName(one.end)}`, String(one.moves), duration(one.median), duration(one.shortest), duration(one.longest)]);
    show(place, table("Ways between cameras", [["From and to"], ["Moves", true], ["Median", true], ["5% are shorter than", true], ["5% are longer than", true]], rows));
  } catch (error) {
    failed(place, error, routes);
  }
}

cameras();
routes();
