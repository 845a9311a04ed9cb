"use strict";
// Draws records that are series: the number at each unit, what is called in it, and how sure each class is.

const MOST_CHARTS = 6;
const STEP = 5, MARGIN = 44, TALL = 150, STRIP = 34;

function drawn(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
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

function chart(units, values, title) {
  const names = Object.keys(units[0].probability), step = Math.min(STEP, 12000 / units.length);
  const low = Math.min(...values), high = Math.max(...values), span = high - low || 1;
  const width = MARGIN + Math.max(step * units.length, 320), bottom = TALL + 18;
  const x = (i) => MARGIN + step * (i + 0.5), y = (v) => 10 + (TALL - 10) * (1 - (v - low) / span);
  const all = drawn("svg", { class: "series", width, height: bottom + STRIP * names.length + 4, role: "img" });
  names.forEach((name, k) => {
    const top = bottom + STRIP * k, found = runsOf(units.map((unit) => unit.decision[name]));
    for (const [a, b] of found) {
      const mark = drawn("rect", { class: "called", x: x(a) - step / 2, y: 6, width: step * (b - a + 1), height: top + STRIP - 10 });
      mark.append(drawn("title", {}, `${words(name)}: units ${units[a].unit} to ${units[b].unit}`));
      all.append(mark);
    }
    const risk = (p) => top + (STRIP - 6) * (1 - p);
    all.append(
      drawn("polyline", { class: "risk-line", points: units.map((u, i) => `${x(i)},${risk(u.probability[name])}`).join(" ") }),
      drawn("line", { class: "cut", x1: MARGIN, x2: width, y1: risk(thresholds[name]), y2: risk(thresholds[name]) }),
      drawn("text", { x: 0, y: top + STRIP / 2 }, "risk"));
  });
  all.append(
    drawn("polyline", { class: "value-line", points: values.map((v, i) => `${x(i)},${y(v)}`).join(" ") }),
    drawn("text", { x: 0, y: y(high) + 4 }, high.toFixed(0)), drawn("text", { x: 0, y: y(low) + 4 }, low.toFixed(0)));
  const told = names.map((name) => `${words(name)} in ${runsOf(units.map((u) => u.decision[name])).length} places`).join(", ");
  all.setAttribute("aria-label", `${title}, record ${units[0].record}: ${told}`);
  const note = `record ${units[0].record} · ${title} · ${told}`;
  return [element("p", { class: "small faint" }, note), element("div", { class: "scroll" }, all)];
}

function charts(units, series) {
  const found = [];
  for (let start = 0, n = 0; start < units.length && n < MOST_CHARTS; n++) {
    let end = start;
    while (end < units.length && units[end].record === units[start].record) end++;
    found.push(...chart(units.slice(start, end), series.values.slice(start, end), series.title));
    start = end;
  }
  return found;
}
