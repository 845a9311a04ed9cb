"use strict";
// Posts what stands in the text field to /predict and draws the answer. All text goes in as text nodes.

const byId = (id) => document.getElementById(id);
const words = (name) => name.replaceAll("_", " ");
const percent = (p) => (p < 0.001 ? "< 0.1" : p > 0.999 ? "> 99.9" : (100 * p).toFixed(p < 0.0995 || p > 0.9895 ? 1 : 0)) + " %";
const MOST_ROWS = 500, MOST_CLASSES = 6;
let thresholds = {}, showsEvidence = false;
let called = { record: "record", records: "records", unit: "unit", units: "units" };  // by the task
let binary = null;  // a file that is no text: posted as it is

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function bar(p, high, threshold) {
  const fill = element("i");
  fill.style.width = 100 * p + "%";
  const label = percent(p) + (threshold === undefined ? "" : ", threshold " + percent(threshold));
  const node = element("div", { class: high ? "bar high" : "bar", role: "img", "aria-label": label }, fill);
  if (threshold !== undefined) {
    const mark = element("b", { title: "threshold " + percent(threshold) });
    mark.style.left = 100 * threshold + "%";
    node.append(mark);
  }
  return node;
}

function outcome(name, unit) {
  const p = unit.probability[name], high = unit.decision[name], threshold = thresholds[name];
  const side = high ? "at or above" : "below";
  const node = element("div", { class: "outcome" },
    element("div", { class: "faint" }, words(name)),
    element("div", { class: high ? "risk high" : "risk low" }, percent(p)),
    bar(p, high, threshold));
  if (threshold !== undefined)
    node.append(element("div", { class: "small faint" }, `${side} the decision threshold of ${percent(threshold)}`));
  if (unit.interval)
    node.append(element("div", { class: "small faint" }, `${unit.interval[name].map(percent).join(" to ")} by what became of others at about this risk`));
  const models = Object.entries(unit.members || {});
  if (models.length > 1) {
    const grid = element("div", { class: "models small" });
    for (const [model, own] of models)
      grid.append(element("span", {}, model), bar(own[name], own[name] >= threshold), element("span", { class: "number" }, percent(own[name])));
    node.append(element("div", { class: "small faint gap" }, "each model by itself, uncalibrated"), grid);
  }
  return node;
}

// A single unit with many classes: the most probable ones, the others behind a fold.
function outcomes(unit) {
  const names = Object.keys(unit.probability);
  if (names.length <= MOST_CLASSES) return names.map((name) => outcome(name, unit));
  names.sort((a, b) => unit.probability[b] - unit.probability[a]);
  const first = names.filter((name, i) => i < 3 || (unit.decision[name] && i < MOST_CLASSES));
  const rest = element("div", { class: "models small" });
  for (const name of names.filter((n) => !first.includes(n)))
    rest.append(element("span", {}, words(name)), bar(unit.probability[name], unit.decision[name]), element("span", { class: "number" }, percent(unit.probability[name])));
  return [...first.map((name) => outcome(name, unit)), element("details", {}, element("summary", { class: "small" }, `the other ${names.length - first.length}`), rest)];
}

// The text with what spoke for and against a class: sentences shaded, words of the strongest ones underlined.
function marked(evidence, name) {
  const coarse = evidence.pieces.filter((p) => !p.fine), fine = evidence.pieces.filter((p) => p.fine);
  const most = (pieces) => Math.max(1e-9, ...pieces.map((p) => Math.abs(p.effect[name])));
  const node = element("div", { class: "text" }), strongest = most(coarse), strongestWord = most(fine);
  let at = 0;
  const plain = (until) => { if (until > at) node.append(evidence.on.slice(at, until)); at = until; };
  for (const piece of coarse) {
    plain(piece.at[0]);
    const effect = piece.effect[name], mark = element("mark", { class: effect < 0 ? "against" : "for", title: (effect < 0 ? "" : "+") + effect.toFixed(2) + " log-odds" });
    mark.style.setProperty("--strength", (Math.abs(effect) / strongest).toFixed(3));
    for (const word of fine.filter((w) => w.at[0] >= piece.at[0] && w.at[1] <= piece.at[1])) {
      mark.append(evidence.on.slice(at, word.at[0]));
      const value = word.effect[name], strong = Math.abs(value) > 0.25 * strongestWord;
      mark.append(element(strong ? "b" : "span", { title: (value < 0 ? "" : "+") + value.toFixed(2) + " log-odds" }, evidence.on.slice(...word.at)));
      at = word.at[1];
    }
    mark.append(evidence.on.slice(at, piece.at[1]));
    at = piece.at[1];
    node.append(mark);
  }
  plain(evidence.on.length);
  return node;
}

const SENTENCES = "Each sentence was left out in turn, and the words of the strongest ones: green spoke for the class, orange against it. What is said twice looks weaker than it is.";
const PLACES = "Each place was covered in turn, and the strongest ones piece by piece: green spoke for the class, orange against it. Press an image to see it alone.";

const VARIABLES = "Each was taken for not measured in turn, and the strongest ones for a part of their time: + spoke for the class, − against it, in log-odds. What others tell as well looks weaker than it is.";

function drawEvidence(evidence) {
  const [draw, note] = typeof evidence.on === "string" ? [marked, SENTENCES] : evidence.on?.images ? [drawnPixels, PLACES] : evidence.on?.names ? [drawnVariables, VARIABLES] : [];
  if (!draw || !evidence.pieces.length) return;
  const names = Object.keys(evidence.pieces[0].effect), choice = element("div", { class: "row" }), text = element("div");
  const choose = (name) => {
    for (const button of choice.children) button.setAttribute("aria-pressed", String(button.value === name));
    text.replaceChildren(draw(evidence, name));
  };
  for (const name of names) {
    const button = element("button", { type: "button", value: name }, words(name));
    button.addEventListener("click", () => choose(name));
    choice.append(button);
  }
  byId("evidence").replaceChildren(
    element("h3", {}, "What it rests on"), choice, text,
    element("p", { class: "small faint" }, note));
  choose(names[0]);
}

function table(units) {
  const names = Object.keys(units[0].probability);
  const head = element("tr", {}, element("th", {}, called.record), element("th", { class: "number" }, called.unit), ...names.map((n) => element("th", { class: "number" }, words(n))));
  const rows = units.slice(0, MOST_ROWS).map((unit) => element("tr", {},
    element("td", {}, unit.record), element("td", { class: "number" }, String(unit.unit)),
    ...names.map((n) => element("td", { class: "number" }, percent(unit.probability[n]) + (unit.decision[n] ? " ●" : "")))));
  const node = element("div", { class: "scroll" }, element("table", { class: "small" }, head, ...rows));
  const more = units.length > MOST_ROWS ? ` The first ${MOST_ROWS} of ${units.length} are shown.` : "";
  return [node, element("p", { class: "small faint" }, "● at or above the decision threshold." + more)];
}

function show(answer) {
  const units = answer.predictions, result = byId("result");
  if (units.length === 1) {
    const [unit] = units;
    result.replaceChildren(...outcomes(unit));
    if (unit.label_set)
      result.append(element("p", {}, element("b", {}, "Cannot be ruled out: "), unit.label_set.map(words).join(", ")));
    for (const flag of unit.flags) result.append(element("span", { class: "chip" }, words(flag)));
    result.append(element("p", { class: "small faint" }, `record ${unit.record}`));
    result.append(element("div", { id: "evidence" }), ...feedbackForm(unit));
  } else {
    const each = table(units);
    result.replaceChildren(...(answer.series
      ? [...charts(units, answer.series), element("details", { class: "gap" }, element("summary", { class: "small" }, `every ${called.unit}`), ...each)]
      : each));
  }
  if (answer.model.warning) result.append(element("p", { class: "small faint" }, answer.model.warning));
}

function fail(text, place = "") {
  byId("result").replaceChildren(element("p", { class: "problem" }, text));
  if (place) byId("result").append(element("p", { class: "small faint" }, place));
}

function posted(text) {
  if (!binary) {
    const type = text.trimStart().startsWith("{") ? "application/json" : "text/plain";
    return { method: "POST", headers: { "Content-Type": type }, body: text };
  }
  const form = new FormData();
  form.append("file", binary, binary.name || "example");
  return { method: "POST", body: form };
}

async function predict() {
  const text = byId("record").value;
  if (!binary && !text.trim()) return fail("There is no record yet: paste one, drop a file, or use the example.");
  byId("predict").disabled = true;
  try {
    const response = await fetch("/predict?explain=members", posted(text));
    const answer = await response.json();
    if (response.ok) {
      show(answer);
      if (showsEvidence && answer.predictions.length === 1) await explain(text);
      return;
    }
    const { problem, remedy, ...where } = answer.error;
    const place = ["file", "record", "field"].filter((k) => where[k]).map((k) => `${k} ${where[k]}`).join(", ");
    fail((place ? place + ": " : "") + problem, remedy || "");
  } catch (error) {
    fail("The server did not answer. Is it still running?");
  } finally {
    byId("predict").disabled = false;
  }
}

// Asked for after the prediction stands there, since it takes as long as many predictions.
async function explain(text) {
  const response = await fetch("/predict?explain=pieces", posted(text));
  if (response.ok) drawEvidence((await response.json()).predictions[0].evidence);
}

// What holds a zero byte is no text: it is posted as it came, and the field names it.
async function take(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  binary = bytes.includes(0) ? file : null;
  byId("record").value = binary ? `${file.name || "example"}: ${Math.ceil(file.size / 1024)} kB` : new TextDecoder().decode(bytes);
  await predict();
}

function interval(metric) {
  const range = metric.interval && typeof metric.interval.low === "number" ? ` (${metric.interval.low.toFixed(3)} to ${metric.interval.high.toFixed(3)})` : "";
  return metric.mean.toFixed(3) + range;
}

async function describe() {
  const response = await fetch("/model");
  const facts = await response.json();
  if (!response.ok) return fail(facts.error.problem, facts.error.remedy || "");
  thresholds = facts.thresholds;
  showsEvidence = facts.shows_evidence;
  called = facts.words;
  keeps = facts.keeps;
  kind = facts.target.kind;
  byId("keeps").textContent = keptInWords(keeps);
  if (keeps.predictions) byId("monitoring").href = "/monitoring";
  byId("monitoring").hidden = !keeps.predictions;
  byId("input-title").textContent = "One " + facts.words.record;
  byId("title").textContent = "ehrbench · " + words(facts.task);
  document.title = "ehrbench · " + words(facts.task);
  if (facts.warning) {
    byId("banner").textContent = facts.warning;
    byId("banner").hidden = false;
  }
  const auroc = typeof facts.metrics.auroc?.mean === "number" ? `AUROC ${interval(facts.metrics.auroc)}, ${facts.protocol} protocol · ` : "";
  byId("facts").textContent = `${auroc}study ${facts.study_name} · ${facts.cohort} cohort · version ${facts.version.slice(0, 12)}`;
  byId("use").textContent = facts.intended_use;
}

byId("predict").addEventListener("click", predict);
byId("example").addEventListener("click", async () => {
  const response = await fetch("/example");
  if (!response.ok) return fail("The server is not ready.");
  await take(await response.blob());
});
byId("record").addEventListener("input", () => { binary = null; });
byId("file").addEventListener("change", (event) => event.target.files.length && take(event.target.files[0]));
byId("record").addEventListener("keydown", (event) => (event.ctrlKey || event.metaKey) && event.key === "Enter" && predict());
for (const kind of ["dragover", "dragleave", "drop"])
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    byId("record").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
describe();
