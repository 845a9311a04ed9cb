"use strict";
// Draws what /monitoring found, or what lies in the page itself (a report). All text goes in as text nodes.

const EVERY_MS = 60000, FIRST_COLUMNS = 10;
const byId = (id) => document.getElementById(id), words = (name) => name.replaceAll("_", " ");
const percent = (share) => (100 * share).toFixed(share < 0.0995 ? 1 : 0) + " %";
const count = (n) => n.toLocaleString("en"), day = (text) => (text || "").replace("T", " ").slice(0, 16);
const FIGURES = {
  auroc: ["AUROC", false], calibration_intercept: ["Calibration intercept (0 is ideal)", false], calibration_slope: ["Calibration slope (1 is ideal)", false],
  false_alarms: ["False alarms: called, of those without it", true], false_calls: ["False calls: without it, of those called", true], missed: ["Missed: not called, of those with it", true],
};

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function drawn(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

const card = (title, ...children) => element("section", { class: "card stacked" }, element("h2", {}, title), ...children);
const row = (kind, ...cells) => element("tr", {}, ...cells.map((cell, i) => element(i && kind === "td" ? "td" : "th", i ? { class: "number" } : { scope: kind === "th" ? "col" : "row" }, cell)));

function table(head, rows) {
  return element("div", { class: "scroll" }, element("table", { class: "small figures" }, element("thead", {}, row("th", ...head)), element("tbody", {}, ...rows)));
}

function said(figure, share) {
  if (!figure || figure.value === null) return "–";
  const text = share ? percent : (x) => x.toFixed(share === false ? 3 : 2);
  return figure.low === null ? text(figure.value) : `${text(figure.value)} (${text(figure.low)} to ${text(figure.high)})`;
}

function summary(found) {
  const alarms = found.alarms.length, known = found.units ? found.labelled / found.units : 0;
  const node = element("section", { class: "card" },
    element("div", { class: alarms ? "risk high" : "risk low" }, alarms ? `${alarms} ${alarms === 1 ? "alarm" : "alarms"}` : "No alarm"),
    ...found.alarms.map((alarm) => element("p", {}, element("b", {}, words(alarm.kind) + ": "), alarm.told)),
    element("p", {}, `${count(found.records)} records of ${count(found.patients)} patients, ` + (found.since ? `${day(found.since)} to ${day(found.until)} UTC` : "none so far"),
      element("br"), `${count(found.labelled)} outcomes told, of ${percent(known)} of the predictions`));
  if (found.proposal.retrain)
    node.append(element("p", { class: "banner" }, "A retraining is proposed: " + found.proposal.reasons.join("; ")));
  node.append(element("p", { class: "small faint" }, `study ${found.study_name} · version ${found.version.slice(0, 12)} · looked at ${day(found.at)} UTC`));
  return node;
}

// Windows of time from left to right: the figure with its interval, what was promised behind, the share told below.
function course(windows, promised) {
  const judged = windows.filter((w) => w.auroc && w.auroc.low !== null);
  if (!judged.length) return element("p", { class: "small faint" }, "Too few outcomes yet to draw a course.");
  const width = Math.min(640, document.documentElement.clientWidth - 80), tall = 170, foot = 34, left = 34;
  const low = Math.max(0, Math.floor(10 * Math.min(...judged.map((w) => w.auroc.low), promised?.low ?? 1)) / 10), y = (v) => 8 + (tall - 8) * (1 - (v - low) / (1 - low));
  const step = (width - left) / windows.length, every = Math.ceil(38 / step), x = (i) => left + step * (i + 0.5);
  const label = "AUROC by time: " + judged.map((w) => `${day(w.since)}: ${said(w.auroc, false)}`).join("; ");
  const all = drawn("svg", { class: "series", viewBox: `0 0 ${width} ${tall + foot}`, width, role: "img", "aria-label": label });
  if (promised && promised.low !== null)
    all.append(drawn("rect", { x: left, width: width - left, y: y(promised.high), height: Math.max(1, y(promised.low) - y(promised.high)), class: "promised" }));
  for (const tick of [low, (low + 1) / 2, 1])
    all.append(drawn("line", { x1: left, x2: width, y1: y(tick), y2: y(tick), class: "grid" }), drawn("text", { x: left - 5, y: y(tick) + 4, "text-anchor": "end" }, tick.toFixed(2)));
  windows.forEach((w, i) => {
    if (w.auroc && w.auroc.low !== null)
      all.append(drawn("line", { x1: x(i), x2: x(i), y1: y(w.auroc.low), y2: y(w.auroc.high), class: "whisker" }),
        drawn("circle", { cx: x(i), cy: y(w.auroc.value), r: 4, class: w.complete ? "point" : "point open" }));
    if (i % every === 0) all.append(drawn("text", { x: x(i), y: tall + 16, "text-anchor": "middle" }, day(w.since).slice(5, 10)), drawn("text", { x: x(i), y: tall + 30, "text-anchor": "middle" }, percent(w.told)));
  });
  return element("div", {}, all, element("p", { class: "small faint" }, "Below: day, and the share of predictions with an outcome. An open circle has fewer than 80 %, which may be others than the rest. Shaded: what the bundle promised."));
}

function outcomes(name, of, promised) {
  const rows = Object.entries(FIGURES).map(([key, [title, share]]) => row("td", title, said(of.figures?.[key], share), said(of.promised?.[key], share)));
  const expected = of.expected.auroc, node = card(words(name),
    element("p", { class: "small" }, `${count(of.labelled)} outcomes told, ${count(of.positive)} of them with it.` + (of.figures ? "" : " Ten with it and ten without are needed to judge by.")),
    table(["", "by outcomes", "promised"], rows), element("h3", {}, "AUROC before outcomes are known"));
  node.append(expected.value === null
    ? element("p", { class: "small" }, `None is estimated: ${expected.why}.`)
    : element("p", { class: "small" }, `${said(expected, false)}, from the calibrated probabilities of the latest ${count(of.expected.n)} predictions; calibration ${of.expected.calibration}.`));
  node.append(element("h3", {}, "AUROC by time"), course(of.windows, of.promised?.auroc));
  return node;
}

function bars(of) {
  const most = Math.max(...of.then, ...of.now, 0.01), node = element("div", { class: "bins small" });
  of.bins.forEach((bin, i) => {
    const pair = element("div", { class: "pairs", role: "img", "aria-label": `${bin}: ${percent(of.then[i])} in training, ${percent(of.now[i])} now` }, element("i"), element("i"));
    pair.children[0].style.width = 100 * of.then[i] / most + "%";
    pair.children[1].style.width = 100 * of.now[i] / most + "%";
    node.append(element("span", {}, bin), pair, element("span", { class: "number" }, `${percent(of.then[i])} → ${percent(of.now[i])}`));
  });
  return node;
}

function column(of, shifted) {
  const missing = `not known ${percent(of.missing.then)} → ${percent(of.missing.now)}`;
  const node = element("details", { class: "column" }, element("summary", {}, of.column + " ", ...(shifted ? [element("span", { class: "chip" }, "drift")] : []),
    element("span", { class: "small faint" }, ` ${percent(of.distance)} differ · ${missing}`)), bars(of));
  return node;
}

function drifting(found) {
  const drift = found.drift, active = new Set(drift.shifts.filter((s) => s.active).map((s) => s.column));
  const rest = drift.compared.filter((of) => !active.has(of.column)), first = drift.compared.filter((of) => active.has(of.column));
  while (first.length < FIRST_COLUMNS && rest.length) first.push(rest.shift());
  const node = card("Who comes, beside training", element("p", { class: "small" }, drift.why_not ? `Not looked at: ${drift.why_not}.`
    : `${count(drift.looks)} looks so far. Bars: in training above, now below; what differs is the share of records that would have to move.`));
  node.append(...first.map((of) => column(of, active.has(of.column))));
  if (rest.length) node.append(element("details", {}, element("summary", { class: "small" }, `the other ${rest.length}`), ...rest.map((of) => column(of, false))));
  const past = drift.shifts.filter((s) => !s.active);
  if (past.length) node.append(element("h3", {}, "Found before, and not by the newest looks"),
    table(["", "until", "training", "then"], past.map((s) => row("td", `${s.column}, ${s.what}`, day(s.until), percent(s.then), percent(s.now)))));
  return node;
}

function draw(found) {
  byId("main").replaceChildren(summary(found), ...Object.entries(found.classes).map(([name, of]) => outcomes(name, of)), drifting(found));
}

async function look() {
  try {
    const response = await fetch("/monitoring" + location.search, { headers: { Accept: "application/json" } }), found = await response.json();
    if (response.ok) return draw(found);
    byId("main").replaceChildren(element("p", { class: "problem" }, found.error.problem), element("p", { class: "small faint" }, found.error.remedy || ""));
  } catch (error) {
    byId("main").replaceChildren(element("p", { class: "problem" }, "The server did not answer. Is it still running?"));
  }
}

if (byId("found")) {  // a report: nothing is asked of a server
  byId("nav").remove();
  draw(JSON.parse(byId("found").textContent));
} else {
  look();
  setInterval(() => document.querySelector("details[open]") || look(), EVERY_MS);  // not under a reader's eyes
}
