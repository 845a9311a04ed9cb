"use strict";
// Named values by what they are worth: the strongest first, and when in their course.

const MOST_VARIABLES = 12;

function drawnVariables(evidence, name) {
  const { names, values, minutes } = evidence.on, parts = evidence.pieces.filter((piece) => piece.at.length === 4);
  const whole = evidence.pieces.filter((piece) => piece.at.length === 2);
  const within = (inner, outer) => inner !== outer && inner.fine && inner.at[0] >= outer.at[0] && inner.at[1] <= outer.at[1];
  const shown = whole.filter((piece) => !whole.some((other) => within(other, piece)));  // the finest names there are
  shown.sort((a, b) => Math.abs(b.effect[name]) - Math.abs(a.effect[name]));
  const most = Math.max(1e-9, ...shown.map((piece) => Math.abs(piece.effect[name])));
  const grid = element("div", { class: "models small" });
  for (const piece of shown.slice(0, MOST_VARIABLES)) {
    const [from, to] = piece.at, effect = piece.effect[name], said = (effect < 0 ? "−" : "+") + Math.abs(effect).toFixed(2);
    const label = names.slice(from, to).map(words).join(", ") + (to - from === 1 && values[from] !== null ? ` ${values[from]}` : "");
    const strip = element("div", { class: effect > 0 ? "bar high" : "bar", role: "img", "aria-label": `${said} log-odds` }, element("i"));
    strip.firstChild.style.width = (100 * Math.abs(effect)) / most + "%";
    grid.append(element("span", {}, label + when(parts.filter((part) => part.at[0] === from && to - from === 1), name, minutes)),
      strip, element("span", { class: "number" }, said));
  }
  return grid;
}

// The part of a course that moves the score most, in hours, where it is not all of it.
function when(parts, name, minutes) {
  if (!parts.length || minutes < 120) return "";
  const strongest = parts.reduce((a, b) => (Math.abs(b.effect[name]) > Math.abs(a.effect[name]) ? b : a));
  const [, , from, to] = strongest.at;
  return `, most of hours ${Math.round(from / 60)} to ${Math.round(to / 60)}`;
}
