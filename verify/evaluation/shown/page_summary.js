/* Head, verdict, tiles, agreement, what was special, and the rest in words. */
const confidence = Number((100 * record.confidence).toPrecision(4)) + " %";
const addFacts = (list, facts) => {
  for (const [name, ...value] of facts) list.append(make("dt", {}, name), make("dd", {}, ...value));
};
const noun = (count, word) => `${grouped(count)} ${word}${count === 1 ? "" : "s"}`;

function writeHead() {
  const { outcome } = record.verdict;
  document.title = ({ pass: "✓ ", fail: "✗ " }[outcome] ?? "") + record.title + " – evaluation";
  byId("title").textContent = record.expected && record.expected.title || record.title;
  addFacts(byId("what"), [["net", record.net], ["weights", record.weights], ["data", record.data], ["engine", record.engine], ["preprocessing", record.preprocessing]].filter(([, value]) => value));
}
function writeVerdict() {
  const { outcome, reasons } = record.verdict;
  const looks = {
    pass: ["good", "✓", "Agrees with what was published"],
    fail: ["bad", "✗", "Does not agree with what was published"],
    "too few": ["neutral", "?", "Too few images to tell"],
    none: ["neutral", "–", record.labelled ? "Measured, with nothing to compare it with" : "No labels, so no errors"],
  };
  const said = reasons.map((reason) => make("p", {}, reason.charAt(0).toUpperCase() + reason.slice(1) + (/[.!?]$/.test(reason) ? "" : ".")));
  fillVerdict(...looks[outcome], ...(said.length ? said : [make("p", { class: "figures" }, record.line)]));
}
function writeTiles() {
  const tiles = Object.values(record.errors).map(({ name, error, interval, said }) => [error, `${name} error`, interval + (said ? `, published ${said}` : "")]);
  const { agreement } = record;
  if (agreement && tiles.length < 2) tiles.push([`${grouped(agreement.same_top1)} / ${grouped(agreement.images)}`, "the same class", `as ${agreement.judge}`]);
  const left = record.skipped_count ? `of ${grouped(record.available)}, ${grouped(record.skipped_count)} skipped` : `of ${grouped(record.available)} available`;
  tiles.push([grouped(record.images), "images seen", left]);
  tiles.push([record.rate ? grouped(Number(record.rate.toPrecision(3))) : "–", "images/s", `${duration(record.seconds)} in ${record.engine}`]);
  addTiles(tiles);
}
function duration(seconds) {
  if (seconds < 100) return seconds.toFixed(1) + " s";
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function writeAgreement() {
  const { agreement } = record;
  if (!agreement) return;
  byId("agreement").hidden = false;
  const { images, same_top1: same, largest_difference: largest } = agreement;
  const share = images ? ` (${(Math.floor(10000 * same / images) / 100).toFixed(2)} %)` : "";
  addFacts(byId("agreed"), [
    ["judge", agreement.judge],
    ["same class", `${grouped(same)} of ${noun(images, "image")}${share}`],
    ["largest difference", largest === null ? "not a number" : `${largest === 0 ? "0" : largest.toExponential(1)}, of any score of any image (float32 explains ${agreement.bound.toExponential(1)})`],
  ]);
  if (!agreement.flips.length) return;
  byId("flips").hidden = false;
  if (record.flip_count > agreement.flips.length) byId("flips").prepend(make("p", { class: "small soft" }, `The ${grouped(agreement.flips.length)} with the largest differences:`));
  sortedTable(byId("flipped"), {
    rows: agreement.flips,
    order: { column: 4, up: false },
    columns: [
      { label: "Image", key: (row) => row.name, cell: (row) => make("span", { class: "mono" }, row.name), word: true },
      { label: "Class", key: (row) => row.label === null ? "" : nameOf(row.label), cell: (row) => row.label === null ? "–" : words(nameOf(row.label)), word: true, wide: true },
      { label: "The model says", key: (row) => nameOf(row.model), cell: (row) => words(nameOf(row.model)), word: true },
      { label: "The judge says", key: (row) => nameOf(row.judge), cell: (row) => words(nameOf(row.judge)), word: true },
      { label: "Difference", key: (row) => row.difference ?? Infinity, cell: (row) => row.difference === null ? "no number" : row.difference.toExponential(1), wide: true },
    ],
  });
}

function writeData() {
  const kinds = Object.entries(record.kinds).sort((a, b) => b[1] - a[1]);
  if (!kinds.length && !record.skipped_count) return;
  const box = byId("data-card"), facts = make("dl", { class: "small" });
  box.hidden = false;
  addFacts(facts, kinds.map(([kind, count]) => [kind, noun(count, "image")]));
  if (record.skipped_count) addFacts(facts, [["not readable", `${noun(record.skipped_count, "image")}, left out of every figure`]]);
  box.append(facts);
  if (!record.skipped_count) return;
  const list = make("ul", { class: "small" });
  for (const [name, reason] of record.skipped) list.append(make("li", {}, make("span", { class: "mono" }, name), `: ${reason}`));
  if (record.skipped_count > record.skipped.length) list.append(make("li", {}, `and ${grouped(record.skipped_count - record.skipped.length)} more`));
  const details = make("details", {}, make("summary", { class: "small" }, "The images that could not be read"), list);
  details.open = record.skipped_count <= 10;
  box.append(make("br"), details);
}
function writeAbout() {
  const { expected, notes } = record, facts = make("dl", { class: "small" });
  const lines = [];
  if (expected) {
    if (expected.title) lines.push(["published", expected.title]);
    if (expected.protocol) lines.push(["protocol", expected.protocol]);
    if (expected.source) lines.push(["source", expected.source]);
    if (expected.images) lines.push(["measured on", noun(expected.images, "image")]);
    for (const other of expected.other) lines.push(["otherwise here", other]);
  }
  for (const note of notes) lines.push(["note", note]);
  if (!lines.length) return;
  byId("about").hidden = false;
  addFacts(facts, lines);
  byId("about").append(make("h2", {}, "Notes"), facts);
}

byId("confidence").textContent = confidence;
writeHead();
writeVerdict();
writeTiles();
writeChart();
writeAgreement();
writeHeat();
writeClasses();
writeGallery();
writeData();
writeAbout();
