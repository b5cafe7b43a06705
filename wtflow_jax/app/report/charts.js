// Vega-Lite specifications by kind of chart, from the data of charts.py.
const axis = (field, title, more) => ({ field, type: "quantitative", title, ...more });
// Colours distinguish kinds of images; dashes distinguish images and pixels.
const series = (domain, range) => ({
  field: "of", type: "nominal", title: null, scale: { domain, range }, legend: { orient: "top", symbolOpacity: 1 },
});
const kinds = (names) => series(names, names.map((name) => colour(`--${name}`)));
const dashes = (names) => series(names, [[1, 0], [5, 3]].slice(0, names.length));
const share = { scale: { domain: [0, 1] } };

function chart(description, layer, more) {
  return { description, width: "container", height: 220, layer, ...more };
}

// A mark at the values of parameters, one parameter per axis.
function marker(mark, at) {
  const places = Object.entries(at);
  return {
    data: { values: [{}] },
    transform: places.map(([axis, name]) => ({ calculate: name, as: `at_${axis}` })),
    mark,
    encoding: Object.fromEntries(places.map(([name]) => [name, axis(`at_${name}`, "")])),
  };
}

function line(values, encoding) {
  const order = { field: "order", type: "quantitative" };
  return {
    data: { values },
    mark: { type: "line", tooltip: true, clip: true },
    encoding: { ...encoding, order },
  };
}

// Curves of images and pixels, and a spot at two parameters.
function curves(description, { values, names }, at, x, y) {
  const spot = { type: "point", filled: true, size: 90, opacity: 1 };
  const layers = [line(values, { x, y, strokeDash: dashes(names) }), marker(spot, at)];
  return chart(description, layers, { params: Object.values(at).map((name) => ({ name, value: null })) });
}

const CHARTS = {
  histogram({ values, names, threshold }, range) {
    const bars = {
      data: { values },
      mark: { type: "bar", opacity: 0.65, binSpacing: 0, tooltip: true },
      encoding: {
        x: axis("from", "image score", { bin: { binned: true }, scale: { domain: range } }),
        x2: { field: "to" },
        y: axis("count", "images", { stack: null, axis: { tickMinStep: 1 } }),
        color: kinds(names),
      },
    };
    const rule = marker({ type: "rule", strokeWidth: 2 }, { x: "threshold" });
    const own = marker({ type: "rule", strokeWidth: 2, strokeDash: [4, 4] }, { x: "own" });
    const params = [{ name: "threshold", value: threshold }, { name: "own", value: null }];
    return chart("Histogram of image scores", [bars, own, rule], { params });
  },

  roc(data) {
    const [x, y] = [axis("x", "false-positive rate", share), axis("y", "share of defective found", share)];
    return curves("ROC curves", data, { x: "false_alarms", y: "detected" }, x, y);
  },

  precision_recall(data) {
    const x = axis("x", "share of defective found (recall)", share);
    const at = { x: "detected", y: "precision" };
    return curves("Precision-recall curves", data, at, x, axis("y", "precision", share));
  },

  overlap({ values, limit }) {
    const x = axis("x", "false-positive rate of pixels", { scale: { domain: [0, limit] } });
    const y = axis("y", "mean overlap of defects", share);
    return chart("Per-region overlap curve", [line(values, { x, y })]);
  },

  by_epoch({ values, names, title }) {
    const encoding = {
      x: axis("epoch", "epoch", { axis: { tickMinStep: 1 } }),
      y: axis("value", title, { scale: { zero: false } }),
    };
    if (names.length > 1) encoding.strokeDash = dashes(names);
    const mark = { type: "line", point: { size: 14 }, tooltip: true };
    return chart(`${title} by epoch`, [{ mark, encoding }], { data: { values } });
  },

  // Mean and band of the radius, and √D.
  radial({ values, names, root_d, top }) {
    const scale = { domain: [0, top], nice: false };
    const [x, y] = [axis("t", "t"), axis("mean", "‖x_t‖", { scale })];
    const color = kinds(names);
    const band = { x, y: { ...y, field: "low" }, y2: { field: "high" }, color };
    const annulus = {
      data: { values: [{ root_d }] },
      mark: { type: "rule", strokeDash: [4, 4], tooltip: { content: "data" } },
      encoding: { y: axis("root_d", "‖x_t‖") },
    };
    const layers = [
      { mark: { type: "area", opacity: 0.2, clip: true }, encoding: band },
      { mark: { type: "line", clip: true }, encoding: { x, y, color } },
      annulus,
    ];
    return chart("Radius on the way from data to noise", layers, { data: { values } });
  },
};
