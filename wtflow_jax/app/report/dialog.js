// The dialog: one large image with its layers.
function drawn(image, layer) {
  // If the image file is gone, show its map.
  const source = image.pictures[layer] ?? (layer === "overlay" && image.pictures.map);
  if (!source) {
    const empty = document.createElement("div");
    empty.className = "empty";
    empty.textContent = layer === "mask" ? "no mask" : "file is gone";
    return empty;
  }
  const picture = new Image();
  Object.assign(picture, { src: source, alt: `${layer} of ${image.path}`, decoding: "async" });
  return picture;
}

const dialog = document.querySelector("dialog");
const layers = dialog.querySelector(".layers");
let looked = null;

function show(row, image) {
  looked = { row, image };
  dialog.querySelector("h3").textContent = image.path;
  const [called] = row.called(image);
  const place = `${row.order.indexOf(image) + 1} of ${row.order.length}`;
  dialog.querySelector(".note").textContent =
    [called, `score ${image.score.toPrecision(5)}`, image.kind, place].filter(Boolean).join(", ");
  layers.replaceChildren(
    ...row.layers.map((layer) => {
      const figure = document.createElement("figure");
      const frame = Object.assign(document.createElement("div"), { className: "frame" });
      frame.append(drawn(image, layer));
      figure.append(Object.assign(document.createElement("figcaption"), { textContent: layer }), frame);
      return figure;
    }),
  );
  if (!dialog.open) dialog.showModal();
}

// All pictures zoom in at the same place.
function look(event) {
  const frame = event.target.closest(".frame");
  if (!frame) return;
  const { left, top, width, height } = frame.getBoundingClientRect();
  layers.style.setProperty("--x", `${(100 * (event.clientX - left)) / width}%`);
  layers.style.setProperty("--y", `${(100 * (event.clientY - top)) / height}%`);
  if (event.type === "click") layers.classList.toggle("zoomed");
}

for (const name of ["click", "pointermove"]) layers.addEventListener(name, look);

function move(by) {
  const { row, image } = looked;
  const next = row.order[row.order.indexOf(image) + by];
  if (next) show(row, next);
}

dialog.querySelector(".before").addEventListener("click", () => move(-1));
dialog.querySelector(".after").addEventListener("click", () => move(1));
dialog.addEventListener("close", () => {
  layers.classList.remove("zoomed");
  looked?.image.card.focus();
});
