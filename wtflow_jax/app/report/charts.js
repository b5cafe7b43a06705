// Vega-Lite specifications by the kind of a chart, of what charts.py gives.
const axis = (field, title, more) => ({ field, type: "quantitative", title, ...more });
// The colour of one or two series; config() says which.
const series = (...names) => ({
  field: "of", type: "nominal", title: null, scale: { domain: names }, legend: { orient: "top" },
});
const share = { scale: { domain: [0, 1] } };

function chart(description, layer, more) {
  return { description, width: "container", height: 220, layer, ...more };
}

// A mark at the values of parameters, by axis.
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
function curves(description, values, at, x, y) {
  const spot = { type: "point", filled: true, size: 90, opacity: 1 };
  const layers = [line(values, { x, y, color: series("images", "pixels") }), marker(spot, at)];
  return chart(description, layers, { params: Object.values(at).map((name) => ({ name, value: 0 })) });
}

const CHARTS = {
  histogram({ values, names, threshold }) {
    const bars = {
      data: { values },
      mark: { type: "bar", opacity: 0.65, binSpacing: 0, tooltip: true },
      encoding: {
        x: axis("from", "image score", { bin: { binned: true }, scale: { zero: false } }),
        x2: { field: "to" },
        y: axis("count", "images", { stack: null }),
        color: series(...names),
      },
    };
    const rule = marker({ type: "rule", strokeWidth: 2 }, { x: "threshold" });
    const params = [{ name: "threshold", value: threshold }];
    return chart("Histogram of image scores", [bars, rule], { params });
  },

  roc({ values }) {
    const [x, y] = [axis("x", "false-positive rate"), axis("y", "share of defective found")];
    return curves("ROC curves", values, { x: "false_alarms", y: "detected" }, x, y);
  },

  precision_recall({ values }) {
    const x = axis("x", "share of defective found (recall)", share);
    const at = { x: "detected", y: "precision" };
    return curves("Precision-recall curves", values, at, x, axis("y", "precision", share));
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
    if (names.length > 1) encoding.color = series(...names);
    const mark = { type: "line", point: { size: 14 }, tooltip: true };
    return chart(`${title} by epoch`, [{ mark, encoding }], { data: { values } });
  },

  // Mean and band of the radius, and √D.
  radial({ values, root_d }) {
    const [x, y] = [axis("t", "t"), axis("mean", "‖x_t‖")];
    const color = series("good", "defective");
    const band = { x, y: { ...y, field: "low" }, y2: { field: "high" }, color };
    const annulus = {
      data: { values: [{ root_d }] },
      mark: { type: "rule", strokeDash: [4, 4], tooltip: { content: "data" } },
      encoding: { y: axis("root_d", "‖x_t‖") },
    };
    const layers = [
      { mark: { type: "area", opacity: 0.2 }, encoding: band },
      { mark: { type: "line" }, encoding: { x, y, color } },
      annulus,
    ];
    return chart("Radius on the way from data to noise", layers, { data: { values } });
  },
};
