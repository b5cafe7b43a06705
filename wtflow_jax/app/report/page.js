const STEPS = 1000;

// A custom property keeps light-dark(); a colour that is painted with it is resolved.
function colour(name) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function config() {
  const [text, quiet, line] = ["--text", "--quiet", "--line"].map(colour);
  const axis = { labelColor: quiet, titleColor: text, gridColor: line, domainColor: line, tickColor: line, gridOpacity: 0.6 };
  return {
    background: "transparent",
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis,
    legend: { labelColor: text, titleColor: text },
    rule: { color: text },
    point: { color: text },
    line: { color: colour("--first") },
    range: { category: [colour("--first"), colour("--second")] },
  };
}

class Row {
  constructor(element) {
    this.element = element;
    const data = JSON.parse(element.querySelector(".data").textContent);
    const { charts, images, labelled, layers, threshold } = data;
    Object.assign(this, { charts, images, labelled, layers, first: threshold });
    this.views = [];
    this.drawn = false;
    if (this.images.length) this.open();
  }

  open() {
    const scores = this.images.map((image) => image.score);
    const [low, high] = [Math.min(this.first, ...scores), Math.max(this.first, ...scores)];
    this.input = this.element.querySelector(".threshold");
    const margin = (high - low) / 50 || 1e-6;
    Object.assign(this.input, { min: low - margin, max: high + margin, step: (high - low + 2 * margin) / STEPS });
    this.input.addEventListener("input", () => this.decide(Number(this.input.value)));
    this.element.querySelector(".reset").addEventListener("click", () => this.decide(this.first));
    this.shown = this.images.filter((image) => image.pictures);
    for (const image of this.shown) image.card = this.card(image);
    for (const name of ["sort", "filter", "layer"]) {
      this.element.querySelector(`.${name}`).addEventListener("change", () => this.arrange());
    }
    this.decide(this.first);
  }

  // What a threshold does to the images; the exact value, not the slider's step.
  decide(threshold) {
    this.threshold = threshold;
    if (Number(this.input.value) !== threshold) this.input.value = threshold;
    this.element.querySelector(".slider output").textContent = threshold.toPrecision(5);
    this.input.setAttribute("aria-valuetext", threshold.toPrecision(5));
    for (const image of this.images) image.above = image.score > threshold;
    if (this.labelled) this.confuse();
    else {
      const above = this.images.filter((image) => image.above).length;
      this.element.querySelector(".rates").textContent = `${above} of ${this.images.length} called defective`;
    }
    for (const view of this.views) this.tell(view);
    this.arrange();
  }

  // Decisions beside what is known.
  confuse() {
    const counts = { passed: 0, alarms: 0, missed: 0, found: 0 };
    for (const image of this.images) {
      counts[image.defective ? (image.above ? "found" : "missed") : image.above ? "alarms" : "passed"] += 1;
    }
    for (const [name, count] of Object.entries(counts)) {
      this.element.querySelector(`[data-count=${name}]`).textContent = count;
    }
    const good = counts.passed + counts.alarms;
    const defective = counts.missed + counts.found;
    // Of nothing there is no share, and no point is drawn.
    const share = (part, of) => (of ? part / of : null);
    this.rates = {
      false_alarms: share(counts.alarms, good),
      detected: share(counts.found, defective),
      precision: share(counts.found, counts.found + counts.alarms),
    };
    const text = (part, of) => (of ? `${((100 * part) / of).toFixed(1)} %` : "–");
    this.element.querySelector(".rates").textContent =
      `False alarms ${text(counts.alarms, good)}, defects found ${text(counts.found, defective)}, ` +
      `precision ${text(counts.found, counts.found + counts.alarms)}`;
  }

  tell(view) {
    const values = { threshold: this.threshold, ...this.rates };
    const known = view.getState().signals;
    for (const [name, value] of Object.entries(values)) {
      if (name in known && view.signal(name) !== value) view.signal(name, value);
    }
    view.runAsync();
  }

  card(image) {
    const card = document.createElement("button");
    card.type = "button";
    card.className = "card";
    card.append(document.createElement("div"));
    const [score, kind, name] = ["strong", "span", "span"].map((tag) => card.appendChild(document.createElement(tag)));
    score.textContent = image.score.toPrecision(4);
    kind.textContent = image.kind;
    name.textContent = image.path.split("/").slice(-2).join("/");
    card.title = image.path;
    card.addEventListener("click", () => show(this, image));
    return card;
  }

  arrange() {
    const value = (name) => this.element.querySelector(`.${name}`).value;
    const wrong = (image) => this.labelled && image.above !== image.defective;
    const kept = {
      all: () => true,
      good: (image) => !image.defective,
      defective: (image) => image.defective,
      below: (image) => !image.above,
      above: (image) => image.above,
      wrong,
    }[value("filter")];
    const by = {
      descending: (a, b) => b.score - a.score,
      ascending: (a, b) => a.score - b.score,
      kind: (a, b) => a.kind.localeCompare(b.kind) || b.score - a.score,
      path: (a, b) => a.path.localeCompare(b.path),
    }[value("sort")];
    const layer = value("layer");
    this.order = this.shown.filter(kept).sort(by);
    for (const image of this.order) {
      const picture = image.card.firstElementChild;
      if (picture.dataset.layer !== layer) {
        picture.replaceChildren(drawn(image, layer));
        picture.dataset.layer = layer;
      }
      image.card.classList.toggle("wrong", wrong(image));
    }
    this.element.querySelector(".gallery").replaceChildren(...this.order.map((image) => image.card));
    this.element.querySelector(".count").textContent = `${this.order.length} images`;
  }

  async draw() {
    this.drawn = true;
    for (const view of this.views.splice(0)) view.finalize();
    for (const place of this.element.querySelectorAll(".chart")) {
      const chart = this.charts[place.dataset.chart];
      const draggable = {
        events: "pointerdown, [pointerdown, window:pointerup] > window:pointermove",
        update: `clamp(invert("x", x()), ${this.input?.min}, ${this.input?.max})`,
      };
      const patch = (spec) => {
        const signal = spec.signals?.find((entry) => entry.name === "threshold");
        if (signal) signal.on = [draggable];
        return spec;
      };
      const { view } = await window.vegaEmbed(place, CHARTS[chart.kind](chart), {
        actions: false, renderer: "svg", config: config(), patch,
      });
      if ("threshold" in view.getState().signals) {
        view.addSignalListener("threshold", (_, value) => {
          if (value !== this.threshold) this.decide(value);
        });
      }
      this.views.push(view);
      if (this.images.length) this.tell(view);
    }
  }
}

function drawn(image, layer) {
  // Of an image that is gone there is the map.
  const source = image.pictures[layer] ?? (layer === "overlay" && image.pictures.map);
  if (!source) {
    const empty = document.createElement("div");
    empty.className = "empty";
    empty.textContent = layer === "mask" ? "not drawn" : "not there";
    return empty;
  }
  const picture = new Image();
  Object.assign(picture, { src: source, alt: `${layer} of ${image.path}`, decoding: "async" });
  return picture;
}

const dialog = document.querySelector("dialog");
let looked = null;

function show(row, image) {
  looked = { row, image };
  dialog.querySelector("h3").textContent = image.path;
  dialog.querySelector(".note").textContent =
    `score ${image.score.toPrecision(5)}${image.kind && `, ${image.kind}`}, called ${image.above ? "defective" : "good"}`;
  dialog.querySelector(".layers").replaceChildren(
    ...row.layers.map((layer) => {
      const figure = document.createElement("figure");
      figure.append(Object.assign(document.createElement("figcaption"), { textContent: layer }), drawn(image, layer));
      return figure;
    }),
  );
  if (!dialog.open) dialog.showModal();
}

function move(by) {
  const { row, image } = looked;
  const next = row.order[row.order.indexOf(image) + by];
  if (next) show(row, next);
}

dialog.querySelector(".before").addEventListener("click", () => move(-1));
dialog.querySelector(".after").addEventListener("click", () => move(1));
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") move(-1);
  if (event.key === "ArrowRight") move(1);
});
dialog.addEventListener("close", () => looked?.image.card.focus());

const rows = [...document.querySelectorAll(".row")].map((element) => new Row(element));
// Charts are drawn when they are about to be seen.
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      const row = rows.find(({ element }) => element === target);
      if (isIntersecting && !row.drawn) row.draw();
    }
  },
  { rootMargin: "300px" },
);
for (const { element } of rows) watcher.observe(element);

function repaint() {
  for (const row of rows) if (row.drawn) row.draw();
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
document.querySelector("#theme").addEventListener("click", () => {
  const { dataset } = document.documentElement;
  const dark = dataset.theme ? dataset.theme === "dark" : prefersDark.matches;
  dataset.theme = dark ? "light" : "dark";
  repaint();
});
prefersDark.addEventListener("change", repaint);
