"use strict";
// Images with what a prediction rests on laid over them: green spoke for the class, orange against it.

function greyCanvas(image) {
  const canvas = document.createElement("canvas"), grey = atob(image.grey);
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d"), pixels = context.createImageData(image.width, image.height);
  for (let i = 0; i < grey.length; i += 1) {
    const value = grey.charCodeAt(i);
    pixels.data.set([value, value, value, 255], 4 * i);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// A coarse piece shows its own effect, and where it was taken apart those of its fine ones.
function shadedPixels(image, pieces, name) {
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  canvas.width = image.width;
  canvas.height = image.height;
  const most = Math.max(1e-9, ...pieces.map((piece) => Math.abs(piece.effect[name])));
  for (const piece of [...pieces].sort((a, b) => a.fine - b.fine)) {
    const [, top, left, bottom, right] = piece.at, effect = piece.effect[name];
    context.fillStyle = effect < 0 ? "rgb(255 130 30)" : "rgb(30 200 170)";
    context.globalAlpha = (0.6 * Math.abs(effect)) / most;
    context.fillRect(left, top, right - left, bottom - top);
  }
  return canvas;
}

// Pressing shows the image alone.
function drawnPixels(evidence, name) {
  const node = element("div", { class: "pictures" });
  evidence.on.images.forEach((image, k) => {
    const label = `image ${k + 1}, shaded where it speaks for or against ${name}`;
    const canvas = element("canvas", { class: "picture", width: 6 * image.width, height: 6 * image.height, role: "img", "aria-label": label });
    const context = canvas.getContext("2d"), grey = greyCanvas(image);
    const shade = shadedPixels(image, evidence.pieces.filter((piece) => piece.at[0] === k), name);
    const draw = (layers) => layers.forEach((layer) => context.drawImage(layer, 0, 0, canvas.width, canvas.height));
    draw([grey, shade]);
    canvas.addEventListener("pointerdown", () => draw([grey]));
    for (const kind of ["pointerup", "pointerleave"]) canvas.addEventListener(kind, () => draw([grey, shade]));
    node.append(canvas);
  });
  return node;
}
