"use strict";
// Draws what a prediction rests on: a record by its parts, one drawing for each kind of layout.

// Red where a part raises the score, blue where it lowers it, by its share of the strongest.
function tint(effect, strongest) {
  const share = strongest ? Math.abs(effect) / strongest : 0;
  return [effect > 0 ? 220 : 40, effect > 0 ? 50 : 90, effect > 0 ? 40 : 220, 0.65 * share];
}

function greyCanvas(image) {
  const canvas = document.createElement("canvas"), grey = atob(image.grey);
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d"), pixels = context.createImageData(image.width, image.height);
  for (let i = 0; i < grey.length; i += 1) pixels.data.set([grey.charCodeAt(i), grey.charCodeAt(i), grey.charCodeAt(i), 255], 4 * i);
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// One cell a pixel; the browser's smoothing makes a soft overlay of it.
function overlayCanvas(layout, effects, strongest) {
  const canvas = document.createElement("canvas");
  canvas.width = layout.columns;
  canvas.height = layout.rows;
  const context = canvas.getContext("2d"), pixels = context.createImageData(layout.columns, layout.rows);
  effects.forEach((effect, i) => {
    const [red, green, blue, opacity] = tint(effect, strongest);
    pixels.data.set([red, green, blue, Math.round(255 * opacity)], 4 * i);
  });
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function drawPixels(layout, effects) {
  const size = layout.rows * layout.columns, strongest = Math.max(...effects.map(Math.abs));
  return layout.images.map((image, k) => {
    const shown = document.createElement("canvas"), context = shown.getContext("2d");
    shown.width = shown.height = 384;
    shown.className = "picture";
    shown.setAttribute("role", "img");
    shown.setAttribute("aria-label", `view ${k + 1} with what the prediction rests on`);
    const own = effects.slice(k * size, (k + 1) * size);
    const draw = (overlay) => {
      context.drawImage(greyCanvas(image), 0, 0, shown.width, shown.height);
      if (overlay) context.drawImage(overlayCanvas(layout, own, strongest), 0, 0, shown.width, shown.height);
    };
    draw(true);
    shown.addEventListener("pointerdown", () => draw(false));
    for (const kind of ["pointerup", "pointerleave"]) shown.addEventListener(kind, () => draw(true));
    return shown;
  });
}

const drawings = { pixels: drawPixels };

// A figure of the parts, or nothing for a layout this page cannot draw.
function partsFigure(parts, element, words) {
  const draw = drawings[parts.layout.kind], names = Object.keys(parts.effect);
  if (!draw) return [];
  const canvases = element("div", { class: "pictures" });
  const show = (name) => canvases.replaceChildren(...draw(parts.layout, parts.effect[name]));
  const choice = element("select", { "aria-label": "Class" }, ...names.map((name) => element("option", { value: name }, words(name))));
  choice.addEventListener("change", () => show(choice.value));
  show(names[0]);
  const note = "red raises the score, blue lowers it: what it loses when that place is covered; press to see the image alone";
  return [element("figure", { class: "parts" }, ...(names.length > 1 ? [choice] : []), canvases, element("figcaption", { class: "small faint" }, note))];
}
