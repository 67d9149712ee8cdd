/* What the pages that correct people share: saying the same of several, taking corrections back, and naming. */

import { api, ask, change, el, problem, Refusal, say } from "./common.js";

export const correctionsOf = (answer) => answer.corrections ?? (answer.correction ? [answer.correction] : []);

/* Say the same of several, one after the other. After each answer, ``first`` may have another name. If one of them fails,
   those before it are stored: they are in ``made``, so that they can be undone, and ``error`` says what was wrong. */
export async function sayOfAll(kind, first, others) {
  const made = [];
  for (const second of others) {
    try {
      const answer = await change(`/people/${kind}`, { method: "POST", json: { first, second } });
      made.push(...correctionsOf(answer));
      first = answer.person ?? first;
    } catch (error) {
      if (!made.length || !(error instanceof Refusal)) throw error;
      return { made, error };
    }
  }
  return { made, error: null };
}

/* Corrections that follow one another, and no others, are taken back together: records are grouped again only once. */
export async function undoAll(names) {
  const runs = [];
  for (const number of names.map((name) => Number(name.slice(2))).sort((one, other) => one - other)) {
    if (runs.at(-1)?.[1] === number - 1) runs.at(-1)[1] = number;
    else runs.push([number, number]);
  }
  for (const [first, last] of runs.reverse()) {
    const name = first === last ? `c-${first}` : `c-${first}..c-${last}`;
    await change(`/people/corrections/${name}`, { method: "DELETE" });
  }
}

/* Take corrections back, for the button of a message, and show what is true then. */
export async function takeBack(made, load) {
  try {
    await undoAll(made);
    await load();
    say("Undone"); // after what load says
  } catch (error) {
    problem(error);
  }
}

/* The new name of a person, null in it to take the name away. Null if nothing changes. */
export async function askName(person) {
  const numbered = /^person-\d+$/.test(person);
  const input = el("input", { name: "name", value: numbered ? "" : person, autocomplete: "off", maxlength: 100, id: "newname" });
  const content = [
    el("div", { class: "field" }, el("label", { for: "newname" }, "Name"), input, el("span", { class: "hint" }, numbered ? "The number stays valid." : "Leave it empty to take the name away.")),
  ];
  const given = await ask(`Name ${person}`, content, "Save");
  const name = given?.get("name").trim() || null;
  return given && name !== (numbered ? null : person) ? { name } : null;
}

/* The address of a person in the API. A name that would mean another address is replaced by the person's number. */
const PLAIN = /^(?!\.{1,2}$)[^/\\]+$/;
const TAKEN = new Set(["routes", "count", "review", "corrections", "group", "same", "not"]);
export async function personAddress(name) {
  if (PLAIN.test(name) && !TAKEN.has(name)) return `/people/${encodeURIComponent(name)}`;
  const { people } = await api(`/people?limit=1000&q=${encodeURIComponent(name)}`);
  const found = people.find((one) => one.name === name);
  if (!found) throw new Refusal(404, `Nobody is called ${name}.`);
  return `/people/person-${String(found.number).padStart(6, "0")}`;
}

export const rename = async (person, name) => change(`${await personAddress(person)}/name`, { method: "POST", json: { name } });
