"use strict";
// Posts what stands in the text field to /predict and draws the answer. All text goes in as text nodes.

const byId = (id) => document.getElementById(id);
const words = (name) => name.replaceAll("_", " ");
const percent = (p) => (p < 0.001 ? "< 0.1" : p > 0.999 ? "> 99.9" : (100 * p).toFixed(p < 0.0995 || p > 0.9895 ? 1 : 0)) + " %";
const MOST_ROWS = 500;
let thresholds = {};

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
  const models = Object.entries(unit.members || {});
  if (models.length > 1) {
    const grid = element("div", { class: "models small" });
    for (const [model, own] of models)
      grid.append(element("span", {}, model), bar(own[name], own[name] >= threshold), element("span", { class: "number" }, percent(own[name])));
    node.append(element("div", { class: "small faint gap" }, "each model by itself, uncalibrated"), grid);
  }
  return node;
}

function table(units) {
  const names = Object.keys(units[0].probability);
  const head = element("tr", {}, element("th", {}, "record"), element("th", {}, "unit"), ...names.map((n) => element("th", {}, words(n))));
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
    result.replaceChildren(...Object.keys(unit.probability).map((name) => outcome(name, unit)));
    for (const flag of unit.flags) result.append(element("span", { class: "chip" }, words(flag)));
    result.append(element("p", { class: "small faint" }, `record ${unit.record}`));
  } else {
    result.replaceChildren(...(answer.series ? charts(units, answer.series) : []), ...table(units));
  }
  if (answer.model.warning) result.append(element("p", { class: "small faint" }, answer.model.warning));
}

function fail(text, place = "") {
  byId("result").replaceChildren(element("p", { class: "problem" }, text));
  if (place) byId("result").append(element("p", { class: "small faint" }, place));
}

async function predict() {
  const text = byId("record").value;
  if (!text.trim()) return fail("There is no record yet: paste one, drop a file, or use the example.");
  byId("predict").disabled = true;
  try {
    const type = text.trimStart().startsWith("{") ? "application/json" : "text/plain";
    const response = await fetch("/predict?explain=members", { method: "POST", headers: { "Content-Type": type }, body: text });
    const answer = await response.json();
    if (response.ok) return show(answer);
    const { problem, remedy, ...where } = answer.error;
    const place = ["file", "record", "field"].filter((k) => where[k]).map((k) => `${k} ${where[k]}`).join(", ");
    fail((place ? place + ": " : "") + problem, remedy || "");
  } catch (error) {
    fail("The server did not answer. Is it still running?");
  } finally {
    byId("predict").disabled = false;
  }
}

async function take(file) {
  byId("record").value = await file.text();
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
  byId("record").value = await response.text();
  await predict();
});
byId("file").addEventListener("change", (event) => event.target.files.length && take(event.target.files[0]));
byId("record").addEventListener("keydown", (event) => (event.ctrlKey || event.metaKey) && event.key === "Enter" && predict());
for (const kind of ["dragover", "dragleave", "drop"])
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    byId("record").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
describe();
