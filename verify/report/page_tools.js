"use strict";
/* What every page is made with. Names from a model or a data set only ever become text nodes and attribute values. */
const record = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
function draw(parent, tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}
const baseName = (path) => path.split(/[\\/]/).filter(Boolean).pop() || path;
const grouped = (count) => count.toLocaleString("en");
function percent(share) {
  if (share === null) return "∞";
  if (share > 10) return Number(share.toPrecision(3)).toLocaleString("en") + " ×";
  return Number((100 * share).toPrecision(2)) + " %";
}

/* `kind` is good, bad or neutral; further children go below the title. */
function fillVerdict(kind, mark, title, ...children) {
  const box = byId("verdict");
  box.classList.toggle("bad", kind === "bad");
  box.classList.toggle("neutral", kind === "neutral");
  box.replaceChildren(make("div", { class: "mark", "aria-hidden": "true" }, mark), make("div", {}, make("strong", {}, title), ...children));
}
function addTiles(tiles) {
  for (const [value, ...names] of tiles) {
    byId("tiles").append(make("div", { class: "tile" }, make("b", {}, value), ...names.map((name) => make("div", { class: "soft small name", title: name }, name))));
  }
}
function meterOf(share) {
  const meter = make("span", { class: "meter", "aria-hidden": "true" }, make("i"));
  meter.firstChild.style.width = Math.min(100, 100 * share) + "%";
  return meter;
}

/* Buttons of which one is pressed; `choices` maps what `choose` is given to what the button says. */
function fillSwitch(box, choices, chosen, choose) {
  for (const [name, label] of choices) {
    const button = make("button", { type: "button", class: "small", "aria-pressed": String(name === chosen) }, label);
    button.addEventListener("click", () => {
      for (const other of box.children) other.setAttribute("aria-pressed", String(other === button));
      choose(name);
    });
    box.append(button);
  }
}
function legendEntry(label, paint) {
  const sample = document.createElementNS(SVG, "svg");
  sample.setAttribute("width", 18);
  sample.setAttribute("height", 12);
  paint(sample);
  return make("span", {}, sample, label);
}
function onWidth(element, redraw) {
  let width = 0;
  new ResizeObserver(([entry]) => {
    if (Math.round(entry.contentRect.width) !== width) { width = Math.round(entry.contentRect.width); redraw(); }
  }).observe(element);
}
function placeTip(tip, x, width) {
  tip.hidden = false;
  const left = x > width / 2 ? x - tip.offsetWidth - 14 : x + 14;
  tip.style.left = Math.min(width - tip.offsetWidth, Math.max(0, left)) + "px";
}
/* Pointer, touch and arrow keys over a chart's points, which `nearest` finds from a place in the drawing. */
function steer(svg, width, count, { nearest, picked, point, leave, pick }) {
  const at = (event) => {
    const frame = svg.getBoundingClientRect();
    return nearest((event.clientX - frame.left) * width / frame.width);
  };
  svg.addEventListener("pointermove", (event) => point(at(event)));
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("click", (event) => { pick(at(event), "chart"); if (event.pointerType === "touch") leave(); });
  svg.addEventListener("keydown", (event) => {
    const to = { ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    pick(Math.min(count - 1, Math.max(0, (picked() ?? (to > 0 ? -1 : count)) + to)), "keys");
  });
}

/* A table whose heads sort it.
   columns: { label, key, cell, word, wide }: `cell` gives a cell's content, `wide` columns are left out on a phone
   rows:    records; those with equal keys stay in this order
   keep:    which of them are shown; count: element that says how many
   dress:   what else a line needs */
function sortedTable(table, { columns, rows, order = { column: 0, up: true }, keep = () => true, count, dress = () => {} }) {
  const places = new Map(rows.map((row, index) => [row, index]));
  const classOf = (column) => [column.word && "word", column.wide && "wide"].filter(Boolean).join(" ");
  const compare = (a, b) => typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a === b ? 0 : a < b ? -1 : 1;
  function drawHead() {
    table.tHead.rows[0].replaceChildren(...columns.map((column, i) => {
      const button = make("button", { type: "button" }, column.label);
      button.addEventListener("click", () => {
        order = { column: i, up: order.column === i ? !order.up : Boolean(column.word) || i === 0 };
        drawHead();
        drawBody();
        table.tHead.rows[0].cells[i].firstChild.focus();
      });
      const cell = make("th", { scope: "col", class: classOf(column) }, button);
      if (order.column === i) cell.setAttribute("aria-sort", order.up ? "ascending" : "descending");
      return cell;
    }));
  }
  function drawBody() {
    const { key } = columns[order.column], shown = rows.filter(keep);
    shown.sort((a, b) => (order.up ? 1 : -1) * compare(key(a), key(b)) || places.get(a) - places.get(b));
    table.tBodies[0].replaceChildren(...shown.map((row) => {
      const line = make("tr", {}, ...columns.map((column) => make("td", { class: classOf(column) }, ...[column.cell(row)].flat())));
      dress(line, row);
      return line;
    }));
    if (count) count.textContent = shown.length === rows.length ? grouped(rows.length) : `${grouped(shown.length)} of ${grouped(rows.length)}`;
  }
  drawHead();
  drawBody();
  return drawBody;
}
/* Whether each word in a search field is in a text. */
function matches(field, text) {
  const low = text.toLowerCase();
  return field.value.toLowerCase().split(/\s+/).filter(Boolean).every((word) => low.includes(word));
}

/* Who made the page, when, of which files. */
function writeProvenance(made) {
  const files = made.files.map((file) => make("li", { class: "mono" }, file.file, make("span", { class: "soft" }, file.bytes === null ? "" : ` ${grouped(file.bytes)} bytes, SHA-256 ${file.sha256}`)));
  byId("provenance").append(make("p", {}, `Made by ${made.tool} ${made.version} on ${made.date} of:`), make("ul", {}, ...files));
}
if (record.provenance) writeProvenance(record.provenance);
