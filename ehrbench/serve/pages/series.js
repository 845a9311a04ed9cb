"use strict";
// Draws records that are series: the number at each unit, what is called in it, and how sure each class is.
// A series goes on from strip to strip, as a Holter's printout does: nothing hides behind a scroll bar or a page's edge.

const MOST_RECORDS = 6, MOST_STRIPS = 120, MOST_RUNS = 200;
const STEP = 5, MARGIN = 44, TALL = 110, RISK = 30, FOOT = 16, EVERY = 20;

function drawn(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function runsOf(called) {
  const runs = [];
  called.forEach((yes, i) => {
    if (yes && i && called[i - 1]) runs[runs.length - 1][1] = i;
    else if (yes) runs.push([i, i]);
  });
  return runs;
}

// Round numbers over all but the most extreme hundredth: an artefact must not flatten the rest; it is drawn at the edge.
function scale(values) {
  const sorted = [...values].sort((a, b) => a - b), at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const low = at(0.005), high = at(0.995), span = high - low || Math.abs(high) || 1;
  const step = [1, 2, 5, 10].map((k) => k * 10 ** Math.floor(Math.log10(span / 2))).find((k) => span / k <= 4);
  const from = Math.floor(low / step), to = Math.max(Math.ceil(high / step), from + 1);
  return Array.from({ length: to - from + 1 }, (_, k) => (from + k) * step);
}

function strip(units, values, ticks, names, width, step) {
  const low = ticks[0], high = ticks.at(-1), bottom = TALL + RISK * names.length, length = MARGIN + step * units.length;
  const x = (i) => MARGIN + step * (i + 0.5);
  const y = (v) => 6 + (TALL - 18) * (1 - (Math.min(Math.max(v, low), high) - low) / (high - low));
  const all = drawn("svg", { class: "series", viewBox: `0 0 ${width} ${bottom + FOOT}`, width, "aria-hidden": "true" });
  const line = (of, value, kind) => drawn("polyline", { class: kind, points: of.map((one, i) => `${x(i)},${value(one).toFixed(1)}`).join(" ") });
  names.forEach((name, k) => {
    const top = TALL + RISK * k, risk = (p) => top + (RISK - 6) * (1 - p);
    for (const [a, b] of runsOf(units.map((unit) => unit.decision[name]))) {
      const mark = drawn("rect", { class: "called", x: x(a) - step / 2, y: 2, width: step * (b - a + 1), height: top + RISK - 4 });
      mark.append(drawn("title", {}, `${words(name)}: ${called.unit} ${units[a].unit} to ${units[b].unit}`));
      all.append(mark);
    }
    all.append(
      line(units, (unit) => risk(unit.probability[name]), "risk-line"),
      drawn("line", { class: "cut", x1: MARGIN, x2: length, y1: risk(thresholds[name]), y2: risk(thresholds[name]) }),
      drawn("text", { x: 0, y: top + RISK / 2 + 2 }, names.length > 1 ? words(name).slice(0, 7) : "risk"));
  });
  for (const tick of ticks)
    all.append(
      drawn("line", { class: "grid", x1: MARGIN, x2: length, y1: y(tick), y2: y(tick) }),
      drawn("text", { x: MARGIN - 6, y: y(tick) + 4, "text-anchor": "end" }, String(+tick.toPrecision(6))));
  units.forEach((unit, i) => {
    if (unit.unit % EVERY === 0) all.append(drawn("text", { x: x(i), y: bottom + FOOT - 4, "text-anchor": "middle" }, String(unit.unit)));
  });
  all.append(line(values, y, "value-line"));
  return all;
}

// Each run in words: what is read first, read aloud, and written into a report.
function runTable(units, values, names, title) {
  const rows = names.flatMap((name) => runsOf(units.map((u) => u.decision[name])).map(([a, b]) => {
    const inside = values.slice(a, b + 1), sure = Math.max(...units.slice(a, b + 1).map((u) => u.probability[name]));
    const cells = [`${units[a].unit}–${units[b].unit}`, b - a + 1, `${Math.min(...inside).toFixed(0)}–${Math.max(...inside).toFixed(0)}`, percent(sure)];
    return [...(names.length > 1 ? [words(name)] : []), ...cells];
  }));
  if (!rows.length) return [];
  const heads = [...(names.length > 1 ? ["class"] : []), called.units, "how many", title.split(" (")[0], "highest risk"];
  const node = element("table", { class: "small" }, element("tr", {}, ...heads.map((h) => element("th", { class: "number" }, h))),
    ...rows.slice(0, MOST_RUNS).map((row) => element("tr", {}, ...row.map((cell) => element("td", { class: "number" }, String(cell))))));
  return [node, ...(rows.length > MOST_RUNS ? [element("p", { class: "small faint" }, `The first ${MOST_RUNS} of ${rows.length} are shown.`)] : [])];
}

function chart(units, values, title) {
  const names = Object.keys(units[0].probability), ticks = scale(values);
  const width = Math.max(byId("result").clientWidth || 640, 280), per = Math.max(Math.floor((width - MARGIN) / STEP / EVERY), 1) * EVERY, step = (width - MARGIN) / per;
  const starts = Array.from({ length: Math.ceil(units.length / per) }, (_, k) => k * per);
  const holds = (start) => units.slice(start, start + per).some((u) => names.some((name) => u.decision[name]));
  const withCalls = starts.filter(holds), tooMany = starts.length > MOST_STRIPS;
  const shown = (tooMany && withCalls.length ? withCalls : starts).slice(0, MOST_STRIPS), left = starts.length - shown.length;
  const told = names.map((name) => {
    const n = runsOf(units.map((u) => u.decision[name])).length, share = units.filter((u) => u.decision[name]).length / units.length;
    return n ? `${words(name)} in ${n} ${n === 1 ? "place" : "places"}, ${percent(share)} of ${units.length} ${called.units}` : `no ${words(name)} called in ${units.length} ${called.units}`;
  }).join("; ");
  const lines = [`${called.record} ${units[0].record}: ${told}.`, `${title} by ${called.unit}; shaded where called, the risk below with its threshold.` + (left ? ` ${left} of ${starts.length} strips are left out, ${Math.max(withCalls.length - shown.length, 0)} of them with a call.` : "")];
  const figure = element("div", { class: "strips", role: "img", "aria-label": `${title}, ${lines[0]}` }, ...shown.map((start) => strip(units.slice(start, start + per), values.slice(start, start + per), ticks, names, width, step)));
  return [element("p", {}, lines[0]), ...runTable(units, values, names, title), element("p", { class: "small faint gap" }, lines[1]), figure];
}

function charts(units, series) {
  const found = [];
  let start = 0, n = 0;
  for (; start < units.length && n < MOST_RECORDS; n++) {
    let end = start;
    while (end < units.length && units[end].record === units[start].record) end++;
    found.push(...chart(units.slice(start, end), series.values.slice(start, end), series.title));
    start = end;
  }
  if (start < units.length) found.push(element("p", { class: "small faint" }, `The first ${n} ${called.records} are drawn; the table has all.`));
  return found;
}
