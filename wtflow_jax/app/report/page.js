const STEPS = 1000;

// A custom property keeps light-dark(); the computed colour of an element is resolved.
function colour(name) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function config() {
  const [text, quiet, line] = ["--text", "--quiet", "--line"].map(colour);
  const axis = { labelColor: quiet, titleColor: text, gridColor: line, domainColor: line, tickColor: line, gridOpacity: 0.6, labelFlush: false };
  return {
    background: "transparent",
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis,
    legend: { labelColor: text, titleColor: text },
    rule: { color: text },
    point: { color: text },
    line: { color: text },
  };
}

const narrow = matchMedia("(max-width: 600px)");

// A number with few digits, to type in a command.
const rounded = (value) => Number(value.toPrecision(5));

// The shortest number in [low, high), for two scores.
function between(low, high) {
  for (let digits = 3; digits < 17; digits++) {
    const value = Number(((low + high) / 2).toPrecision(digits));
    if (low <= value && value < high) return value;
  }
  return low;
}

class Row {
  constructor(element) {
    this.element = element;
    Object.assign(this, JSON.parse(element.querySelector(".data").textContent));
    this.views = [];
    this.drawn = false;
    if (this.images.length) this.open();
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  open() {
    const scores = this.images.map((image) => image.score).sort((a, b) => a - b);
    const set = [this.threshold, this.own].filter((value) => value !== null);
    const [low, high] = [Math.min(...set, scores[0]), Math.max(...set, scores.at(-1))];
    const margin = (high - low) / 50 || 1e-6;
    // A stop between any two scores, and one beyond each end: all possible decisions.
    this.range = [low - margin, high + margin];
    this.stops = [low - margin, ...scores.slice(1).map((score, i) => between(scores[i], score)), high + margin];
    this.first = this.threshold;
    this.input = this.find(".threshold");
    const [min, max] = this.range;
    Object.assign(this.input, { min, max, step: (max - min) / STEPS, value: (min + max) / 2 });
    this.input.addEventListener("input", () => this.decide(rounded(Number(this.input.value))));
    this.find(".reset").addEventListener("click", () => this.decide(this.first));
    this.shown = this.images.filter((image) => image.pictures);
    for (const image of this.shown) image.card = this.card(image);
    for (const name of ["sort", "filter", "layer"]) {
      this.find(`.${name}`).addEventListener("change", () => this.arrange());
    }
    this.find(".decide").open = !narrow.matches;
    this.decide(this.first);
  }

  // Move to the next threshold that changes a decision.
  step(by) {
    const at = this.threshold ?? Number(this.input.value);
    const next = by > 0 ? this.stops.find((stop) => stop > at) : this.stops.findLast((stop) => stop < at);
    if (next !== undefined) this.decide(next);
  }

  // Apply a threshold to the images; null if it is not set.
  decide(threshold) {
    this.threshold = threshold;
    const text = threshold === null ? "not set" : `${threshold}`;
    if (threshold !== null && Number(this.input.value) !== threshold) this.input.value = threshold;
    this.find(".slider output").textContent = threshold === this.first && threshold !== null ? threshold.toPrecision(5) : text;
    this.input.setAttribute("aria-valuetext", text);
    for (const image of this.images) image.above = threshold === null ? null : image.score > threshold;
    this.count();
    this.compare();
    for (const view of this.views) this.tell(view);
    this.arrange();
  }

  // Count the decisions against the labels.
  count() {
    const counts = { passed: 0, alarms: 0, missed: 0, found: 0 };
    for (const image of this.images) {
      counts[image.defective ? (image.above ? "found" : "missed") : image.above ? "alarms" : "passed"] += 1;
    }
    const { passed, alarms, missed, found } = counts;
    const set = this.threshold !== null;
    for (const [name, count] of Object.entries(this.labelled ? counts : {})) {
      this.find(`[data-count=${name}]`).textContent = set ? count : "–";
    }
    // Without images there is no share, and no point is drawn.
    const share = (part, of) => (set && of ? part / of : null);
    this.rates = {
      false_alarms: share(alarms, passed + alarms),
      detected: share(found, missed + found),
      precision: share(found, found + alarms),
    };
    this.find(".verdict").textContent = !set
      ? `No threshold is set: ${this.images.length} images`
      : this.labelled
        ? `Missed ${missed} of ${missed + found}, false alarms ${alarms} of ${passed + alarms}`
        : `${alarms} of ${this.images.length} called defective`;
  }

  // Show whether the threshold was moved, and from where.
  compare() {
    this.find(".moved").hidden = this.threshold === this.first;
    if (this.threshold === this.first) return;
    const was = this.own ?? this.first;
    this.find(".moved span").textContent =
      (was === null ? "Moved; no threshold was set." : `Moved from ${was.toPrecision(5)}, dashed in the histogram.`) +
      (this.command ? " This applies it:" : "");
    this.find(".moved code").textContent = this.command && `${this.command} --threshold ${this.threshold}`;
  }

  tell(view) {
    const was = this.own ?? this.first;
    const values = { threshold: this.threshold, own: was === this.threshold ? null : was, ...this.rates };
    const known = view.getState().signals;
    for (const [name, value] of Object.entries(values)) {
      if (name in known && view.signal(name) !== value) view.signal(name, value);
    }
    view.runAsync();
  }

  card(image) {
    const card = document.createElement("button");
    card.type = "button";
    card.append(document.createElement("div"));
    for (const [name, text] of Object.entries({
      name: image.path.split("/").slice(-2).join("/\u200b"), called: "", score: image.score.toPrecision(4),
    })) {
      card.append(Object.assign(document.createElement("span"), { className: name, textContent: text }));
    }
    card.title = image.path;
    card.addEventListener("click", () => show(this, image));
    return card;
  }

  // The decision on an image, and its error class: a miss or a false alarm.
  called({ above, defective }) {
    if (above === null) return ["", ""];
    if (!this.labelled || above === defective) return [above ? "defective" : "good", ""];
    return above ? ["false alarm", "alarm"] : ["missed", "miss"];
  }

  arrange() {
    const value = (name) => this.find(`.${name}`).value;
    const kept = {
      all: () => true,
      good: (image) => !image.defective,
      defective: (image) => image.defective,
      below: (image) => image.above === false,
      above: (image) => image.above,
      wrong: (image) => this.called(image)[1],
    }[value("filter")];
    const by = {
      descending: (a, b) => b.score - a.score,
      ascending: (a, b) => a.score - b.score,
      kind: (a, b) => a.kind.localeCompare(b.kind) || b.score - a.score,
      path: (a, b) => a.path.localeCompare(b.path),
    }[value("sort")];
    const layer = value("layer");
    this.order = this.shown.filter(kept).sort(by);
    for (const { card, ...image } of this.order) {
      const picture = card.firstElementChild;
      if (picture.dataset.layer !== layer) {
        picture.replaceChildren(drawn(image, layer));
        picture.dataset.layer = layer;
      }
      const [text, wrong] = this.called(image);
      card.className = `card ${wrong}`;
      card.querySelector(".called").textContent = text;
    }
    const chosen = this.find(".filter").selectedOptions[0].text;
    const nothing = `No picture of “${chosen}” at this threshold: move it, or show all images.`;
    this.find(".gallery").replaceChildren(...(this.order.length ? this.order.map((image) => image.card) : [nothing]));
    this.find(".count").textContent = `${this.order.length} images`;
  }

  async draw() {
    this.drawn = true;
    for (const view of this.views.splice(0)) view.finalize();
    for (const place of this.element.querySelectorAll(".chart")) {
      const chart = this.charts[place.dataset.chart];
      const draggable = {
        events: "pointerdown, [pointerdown, window:pointerup] > window:pointermove",
        update: `clamp(invert("x", x()), ${this.range})`,
      };
      const patch = (spec) => {
        const signal = spec.signals?.find((entry) => entry.name === "threshold");
        if (signal) signal.on = [draggable];
        return spec;
      };
      const { view } = await window.vegaEmbed(place, CHARTS[chart.kind](chart, this.range), {
        actions: false, renderer: "svg", config: config(), patch,
      });
      if ("threshold" in view.getState().signals) {
        view.addSignalListener("threshold", (_, value) => {
          if (value !== this.threshold) this.decide(rounded(value));
        });
      }
      this.views.push(view);
      if (this.images.length) this.tell(view);
    }
  }
}

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

// Arrow keys step from image to image in the dialog, elsewhere from score to score.
document.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by || event.altKey || event.ctrlKey || event.metaKey || event.target.matches("select")) return;
  if (dialog.open) return move(by);
  const seen = ({ element, images }) => images.length && element.getBoundingClientRect().bottom > innerHeight / 3;
  const row = rows.find(({ element }) => element.contains(event.target)) ?? rows.find(seen);
  if (!row?.images.length) return;
  event.preventDefault();
  row.step(by);
});

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
