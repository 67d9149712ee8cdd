/* A match of a search: its picture, its evidence, and whether it shows the person of the search. */

import { busy, cameraName, change, dayAndClock, el, fullSpan, may, personLink, say, shot, toast } from "./common.js";
import { correctionsOf, undoAll } from "./correcting.js";

const WORDS = { likely: "Likely", uncertain: "Uncertain", unknown: "Unknown" };
const BASES = {
  "camera pair": "pairs of these two cameras", pooled: "pairs of all cameras",
  "one camera": "pairs within one camera only, which is weak", "same picture": "it is the same picture",
};

function percent(probability) {
  const share = 100 * probability;
  return share > 99 ? "over 99%" : share < 1 ? "under 1%" : `${Math.round(share)}%`;
}

/* A match as a card, for a search ``one``. ``goOnAs(one, person)`` is called if its person has another name now. */
export function card(match, grouped, one, goOnAs) {
  const words = `match ${match.rank}${grouped ? ` of camera ${cameraName(match.camera)}` : ""}, camera ${cameraName(match.camera)}, ${fullSpan(match.start, match.end)}`;
  const body = el("div", { class: "body" });
  if (WORDS[match.words]) body.append(el("span", { class: `word ${match.words}` }, WORDS[match.words]));
  body.append(match.person ? personLink(match.person) : el("span", { class: "soft" }, "No person yet"));
  body.append(el("span", {}, cameraName(match.camera)), dayAndClock(match.start, match.end));
  const item = el("li", { class: "card" }, shot(match.picture, words, el("span", { class: "rank", "aria-hidden": "true" }, match.rank)), body, evidence(match));
  const buttons = el("div", { class: "buttons" }, el("a", { class: "button", href: `/?record=${encodeURIComponent(match.id)}`, "aria-label": `Who is this? Match ${match.rank}` }, "Who is this?"));
  if (one.person && may("review")) answers(match, item, buttons, one, goOnAs);
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

/* Same or not: the person of the search, and the record of a match. Until one answer is stored, or taken back, the card
   takes no other. */
function answers(match, item, buttons, one, goOnAs) {
  const give = (kind, words) => () =>
    busy(buttons, async () => {
      const person = one.person; // an answer to another match may have changed it
      const answer = await change(`/people/${kind}`, { method: "POST", json: { first: person, second: match.id } });
      const made = correctionsOf(answer);
      const now = answer.person ?? person;
      goOnAs(one, now);
      item.classList.add("chosen");
      const before = [...buttons.children];
      const undone = () => {
        close();
        return busy(buttons, async () => {
          await undoAll(made);
          if (now !== person) goOnAs(one, person);
          item.classList.remove("chosen");
          putInto(buttons, before);
          say("Undone");
        });
      };
      putInto(buttons, [el("span", { class: "soft" }, words), el("button", { class: "quiet", onclick: undone }, "Undo")]);
      const close = toast(`${words}: match ${match.rank} and ${person}.`, undone);
    });
  buttons.append(
    el("button", { onclick: give("same", "Same person"), "aria-label": `Same person: match ${match.rank}` }, "Same"),
    el("button", { onclick: give("not", "Another person"), "aria-label": `Not this person: match ${match.rank}` }, "Not"),
  );
}

/* Who works in these buttons goes on there. Who is elsewhere by now stays there. */
function putInto(buttons, children) {
  const inside = buttons.contains(document.activeElement);
  buttons.replaceChildren(...children);
  if (inside) buttons.querySelector("button").focus();
}
