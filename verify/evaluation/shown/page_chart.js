/* The chart of the error against the images seen, with its interval as a band and the published error as a line. */
let which = "top1";
let picked = null;
let plot = null;
const curve = record.curve;

/* The chart is scaled to what lies right of its first twentieth: the band of the first few images would dwarf the rest. */
function chartRange() {
  const last = curve[curve.length - 1].images, { published } = record.errors[which];
  const settled = curve.filter((point) => point.images >= last / 20);
  const values = settled.flatMap((point) => [point[which].low, point[which].high]);
  if (published !== null) values.push(published - record.expected.variation, published + record.expected.variation);
  const low = Math.min(...values), high = Math.max(...values), room = Math.max(0.002, (high - low) * 0.08);
  return [Math.max(0, low - room), Math.min(1, high + room)];
}
/* Round numbers from `low` to `high`, about `count` of them. */
function ticks(low, high, count) {
  const rough = (high - low) / count, base = 10 ** Math.floor(Math.log10(rough));
  const step = base * [1, 2, 5, 10].find((factor) => factor * base >= rough * 0.999);
  const made = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) made.push(i * step || 0);
  return { step, made };
}
const sentence = (point) => `After ${grouped(point.images)} images: ${record.errors[which].name} error ${point[which].text}`;

function drawAxes(svg, area, x, y, low, high, narrow) {
  const { step, made } = ticks(100 * low, 100 * high, narrow ? 5 : 6), digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  for (const value of made) {
    const at = y(value / 100);
    draw(svg, "line", { class: "grid", x1: area.left, x2: area.right, y1: at, y2: at });
    draw(svg, "text", { x: area.left - 7, y: at + 4, "text-anchor": "end" }, value.toFixed(digits) + " %");
  }
  const last = curve[curve.length - 1].images;
  for (const value of ticks(0, last, narrow ? 3 : 6).made) {
    if (value % 1) continue;
    draw(svg, "text", { x: x(value), y: area.bottom + 16, "text-anchor": value === last ? "end" : value ? "middle" : "start" }, grouped(value));
  }
  draw(svg, "text", { x: (area.left + area.right) / 2, y: area.bottom + 33, "text-anchor": "middle" }, "images seen");
}
function drawPublished(svg, area, y) {
  const { published, said } = record.errors[which];
  if (published === null) return;
  const { variation } = record.expected, top = y(published + variation);
  draw(svg, "rect", { class: "said-band", x: area.left, width: area.right - area.left, y: top, height: Math.max(1, y(published - variation) - top) });
  draw(svg, "line", { class: "said", x1: area.left, x2: area.right, y1: y(published), y2: y(published) });
  const below = top - area.top < 18;
  draw(svg, "text", { class: "said-name", x: area.right - 4, y: below ? y(published - variation) + 14 : top - 5, "text-anchor": "end" }, `published ${said} %`);
}
function drawChart() {
  const box = byId("chart");
  box.replaceChildren();
  const width = Math.max(260, box.clientWidth), narrow = width < 560, height = narrow ? 250 : 320;
  const area = { left: 52, right: width - 10, top: 12, bottom: height - 38 };
  const [low, high] = chartRange(), last = curve[curve.length - 1].images;
  const x = (images) => area.left + (area.right - area.left) * images / last;
  const y = (share) => Math.min(area.bottom, Math.max(area.top, area.bottom - (area.bottom - area.top) * (share - low) / (high - low)));
  const { name, error, interval } = record.errors[which];
  const svg = draw(box, "svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", tabindex: "0",
    "aria-label": `${name} error after 1 to ${grouped(last)} images, in the end ${error} ${interval}. Arrow keys move through the points.` });
  drawAxes(svg, area, x, y, low, high, narrow);
  drawPublished(svg, area, y);
  const place = (edge) => (point) => `${x(point.images).toFixed(1)},${y(point[which][edge]).toFixed(1)}`;
  if (curve.length > 1) {
    draw(svg, "path", { class: "band", d: `M${curve.map(place("low")).join(" L")} L${[...curve].reverse().map(place("high")).join(" L")} Z` });
    draw(svg, "path", { class: "line", d: "M" + curve.map(place("error")).join(" L") });
  } else {
    draw(svg, "path", { class: "line", d: `M${place("low")(curve[0])} L${place("high")(curve[0])}` });
    draw(svg, "circle", { class: "dot", cx: x(last), cy: y(curve[0][which].error), r: 3.5 });
  }
  const cursor = draw(svg, "line", { class: "cursor", y1: area.top, y2: area.bottom, visibility: "hidden" });
  const ring = draw(svg, "circle", { class: "ring", r: 5, visibility: "hidden" });
  const tip = make("div", { class: "tip", hidden: "" });
  box.append(tip);
  plot = { x, y, cursor, ring, tip, width };
  const nearest = (at) => curve.reduce((best, point, i) => Math.abs(x(point.images) - at) < Math.abs(x(curve[best].images) - at) ? i : best, 0);
  steer(svg, width, curve.length, { nearest, picked: () => picked, point, leave: () => { tip.hidden = true; mark(picked); }, pick });
  mark(picked);
}
function mark(index) {
  for (const part of [plot.cursor, plot.ring]) part.setAttribute("visibility", index === null ? "hidden" : "visible");
  if (index === null) return;
  const place = curve[index], x = plot.x(place.images);
  plot.cursor.setAttribute("x1", x);
  plot.cursor.setAttribute("x2", x);
  plot.ring.setAttribute("cx", x);
  plot.ring.setAttribute("cy", plot.y(place[which].error));
}
function point(index) {
  mark(index);
  plot.tip.replaceChildren(make("b", {}, `${grouped(curve[index].images)} images`), `${record.errors[which].name} error ${curve[index][which].text}`);
  placeTip(plot.tip, plot.x(curve[index].images), plot.width);
}
function pick(index) {
  picked = index;
  mark(index);
  byId("reading").textContent = sentence(curve[index]);
}
function writeChart() {
  if (!curve.length || !record.errors.top1) return;
  byId("chart-card").hidden = false;
  byId("legend").append(
    legendEntry("error", (s) => draw(s, "path", { class: "line", d: "M0,6 h18" })),
    legendEntry(`its ${confidence} interval`, (s) => draw(s, "rect", { class: "band", x: 0, y: 1, width: 18, height: 10 })));
  if (Object.values(record.errors).some((error) => error.published !== null)) {
    byId("legend").append(legendEntry("published, with the variation that its authors state", (s) => { draw(s, "rect", { class: "said-band", x: 0, y: 3, width: 18, height: 6 }); draw(s, "path", { class: "said", d: "M0,6 h18" }); }));
  }
  const shown = Object.entries(record.errors).filter(([name]) => curve.every((place) => place[name]));
  if (shown.length > 1) {
    fillSwitch(byId("which"), shown.map(([name, error]) => [name, error.name]), which, (name) => { which = name; drawChart(); if (picked !== null) pick(picked); });
  }
  onWidth(byId("chart"), drawChart);
  drawChart();
}
