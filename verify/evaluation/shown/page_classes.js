/* The table of classes, the map of what the worst are taken for, and the misjudged images. */
const WORST = 12;
const nameOf = (label) => record.short_names[label] ?? String(label);
/* A name that breaks between words only, unless a word of it is too long for any column. */
const words = (name) => make("span", { class: /\S{25}/.test(name) ? "" : "whole" }, name);
const times = (count) => make("span", { class: "part" }, "\u00a0×" + grouped(count));

const classColumns = [
  { label: "#", key: (row) => row.place, cell: (row) => String(row.place), wide: true },
  { label: "Class", key: (row) => row.name, cell: (row) => words(row.name), word: true },
  { label: "Label", key: (row) => row.label, cell: (row) => String(row.label), wide: true },
  { label: "Images", key: (row) => row.images, cell: (row) => grouped(row.images), wide: true },
  { label: "Wrong", key: (row) => row.wrong, cell: (row) => grouped(row.wrong), wide: true },
  { label: "Error", key: (row) => row.share, cell: (row) => [row.error, meterOf(row.share)] },
  { label: "Most often taken for", key: (row) => row.confused.length ? nameOf(row.confused[0][0]) : "", cell: takenFor, word: true },
];
function takenFor(row) {
  return row.confused.slice(0, 3).map(([label, count], i) => make("span", { class: i ? "wide" : "" }, i ? ", " : "", words(nameOf(label)), times(count)));
}
function writeClasses() {
  const rows = record.by_class.map((row, i) => ({ ...row, place: i + 1, share: row.images ? row.wrong / row.images : 0 }));
  if (!rows.length || !record.labelled) return;
  byId("classes-card").hidden = false;
  const keep = (row) => (!byId("with-errors").checked || row.wrong > 0) && matches(byId("class-filter"), `${row.label} ${row.name}`);
  const redraw = sortedTable(byId("classes"), { columns: classColumns, rows, keep, count: byId("class-count") });
  byId("class-filter").addEventListener("input", redraw);
  byId("with-errors").addEventListener("change", redraw);
}

/* Few classes: all of them, in label order, as a confusion matrix. Many: the worst, beside what they are taken for. */
function heatPlan() {
  const all = record.by_class;
  if (all.length <= WORST) {
    const rows = [...all].sort((a, b) => a.label - b.label);
    const labels = new Set(rows.flatMap((row) => [row.label, ...row.confused.map(([label]) => label)]));
    if (labels.size <= 2 * WORST) return { rows, labels: [...labels].sort((a, b) => a - b), square: true };
  }
  const rows = all.filter((row) => row.wrong > 0).slice(0, WORST);
  const totals = new Map();
  for (const [label, count] of rows.flatMap((row) => row.confused)) totals.set(label, (totals.get(label) ?? 0) + count);
  const first = rows.flatMap((row) => row.confused.slice(0, 1).map(([label]) => label));
  const most = [...totals.keys()].sort((a, b) => totals.get(b) - totals.get(a));
  return { rows, labels: [...new Set([...first, ...most])].slice(0, WORST), square: false };
}
function heatCell(row, count, what, right) {
  const cell = make("td", { class: right ? "right" : "" }, count ? grouped(count) : "");
  cell.style.setProperty("--share", (count ? 8 + 57 * Math.min(1, count / row.images) : 0) + "%");
  cell.dataset.words = count === null ? `${row.name}: not often ${what}` : `${row.name} ${what}: ${grouped(count)} of ${grouped(row.images)} images`;
  return cell;
}
/* A record names only what a class is most often taken for: where that leaves some out, what is not named is unknown. */
const unnamed = (row) => row.wrong - row.confused.reduce((sum, [, count]) => sum + count, 0);
function heatRow(row, labels, square, rest) {
  const counts = new Map(row.confused), right = row.images - row.wrong, other = unnamed(row) ? null : 0;
  const cells = labels.map((label) => square && label === row.label ? heatCell(row, right, "recognised", true)
    : heatCell(row, counts.get(label) ?? other, `taken for ${nameOf(label)}`, false));
  if (!square) cells.unshift(heatCell(row, right, "recognised", true));
  if (rest) cells.push(heatCell(row, row.wrong - labels.reduce((sum, label) => sum + (counts.get(label) ?? 0), 0), "taken for something else", false));
  return make("tr", {}, make("th", { scope: "row", title: row.name }, record.short_names[row.label] ?? row.name), ...cells);
}
function writeHeat() {
  if (!record.labelled || !record.by_class.some((row) => row.wrong > 0)) return;
  const { rows, labels, square } = heatPlan(), table = byId("heat");
  const rest = !square || rows.some((row) => unnamed(row) > 0);
  const names = [...square ? [] : ["recognised"], ...labels.map(nameOf), ...rest ? ["something else"] : []];
  byId("heat-card").hidden = false;
  byId("heat-title").textContent = square ? "What each class is taken for" : `What the ${rows.length} worst classes are taken for`;
  table.setAttribute("aria-label", byId("heat-title").textContent);
  table.tHead.append(make("tr", {}, make("td"), ...names.map((name) => make("th", { scope: "col", title: name }, make("div", {}, name)))));
  table.tBodies[0].append(...rows.map((row) => heatRow(row, labels, square, rest)));
  let at = null;
  const go = (y, x) => {
    at = [Math.min(rows.length - 1, Math.max(0, y)), Math.min(names.length - 1, Math.max(0, x))];
    for (const old of table.querySelectorAll(".at")) old.classList.remove("at");
    const cell = table.tBodies[0].rows[at[0]].cells[at[1] + 1];
    cell.classList.add("at");
    byId("heat-reading").textContent = cell.dataset.words;
    return cell;
  };
  const read = (event) => {
    const cell = event.target.closest("td[data-words]");
    if (cell) go(cell.parentElement.sectionRowIndex, cell.cellIndex - 1);
  };
  table.addEventListener("click", read);
  table.addEventListener("pointerover", read);
  table.addEventListener("keydown", (event) => {
    const move = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (!move) return;
    event.preventDefault();
    (at ? go(at[0] + move[0], at[1] + move[1]) : go(0, 0)).scrollIntoView({ block: "nearest", inline: "nearest" });
  });
}

function score(value) {
  if (value === null) return "no number";
  return value === 0 || Math.abs(value) >= 0.0005 && Math.abs(value) < 1e5 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
}
function figureOf(found) {
  const picture = make("div", { class: "picture" });
  if (found.thumbnail.startsWith("data:image/")) {
    const image = make("img", { src: found.thumbnail, alt: found.name });
    image.addEventListener("load", () => image.classList.toggle("small-picture", image.naturalWidth < 80));
    picture.append(image);
  } else picture.append("no picture");
  const line = (mark, style, label, value) => make("div", { class: "row" }, make("span", {}, make("b", { class: style }, mark + " "), label), make("span", {}, value));
  return make("figure", {}, picture, make("figcaption", {},
    line("✗", "taken", found.predicted.length ? nameOf(found.predicted[0]) : "–", score(found.score)),
    line("✓", "ought", nameOf(found.label), score(found.own_score)),
    make("span", { class: "soft mono" }, found.name)));
}
function writeGallery() {
  const found = record.misjudged;
  if (!found.length) return;
  byId("gallery-card").hidden = false;
  const counts = new Map();
  for (const { label } of found) counts.set(label, (counts.get(label) ?? 0) + 1);
  const select = byId("gallery-filter"), names = [...counts.keys()].sort((a, b) => nameOf(a).localeCompare(nameOf(b), "en", { numeric: true }));
  select.append(make("option", { value: "" }, "all classes"), ...names.map((label) => make("option", { value: label }, `${nameOf(label)} (${counts.get(label)})`)));
  const figures = found.map(figureOf);
  const show = () => {
    const kept = figures.filter((_, i) => select.value === "" || String(found[i].label) === select.value);
    byId("gallery").replaceChildren(...kept);
    byId("gallery-count").textContent = kept.length === found.length ? `the ${grouped(found.length)} that the model was surest of` : `${kept.length} of ${found.length}`;
  };
  select.addEventListener("change", show);
  show();
}
