/* The picture of a net: boxes within boxes. Python says in which row each stands and where from left to right while all
   are closed; opening one stretches the plane around it, so that nothing ever overlaps and nothing changes its order. */
const HEAD = 28, EDGE = 14, LINE = 16, PILL = 22, ROW = 28, STEP = 12, PILED = 6;
const blobText = ([, shape]) => shape;

/* f of one axis: monotone, never steeper than needed, and over each [from, to] at least `room` wide. */
function stretched(needs) {
  const ends = [...new Set(needs.flatMap(({ from, to }) => [from, to]))].sort((a, b) => a - b);
  const slope = ends.slice(1).map((end, i) => needs.reduce((most, { from, to, room }) => from <= ends[i] && to >= end ? Math.max(most, room / (to - from)) : most, 1));
  const at = [ends[0] ?? 0];
  slope.forEach((rise, i) => at.push(at[i] + rise * (ends[i + 1] - ends[i])));
  return (x) => {
    if (!ends.length || x <= ends[0]) return x;
    let i = ends.length - 1;
    if (x >= ends[i]) return at[i] + x - ends[i];
    let low = 0;
    while (i - low > 1) { const mid = (low + i) >> 1; if (ends[mid] <= x) low = mid; else i = mid; }
    return at[low] + slope[low] * (x - ends[low]);
  };
}
/* Places beside the middle for lines that come from `xs`: one from straight above stays in the middle. */
function besides(xs, middle, room) {
  const order = xs.map((x, i) => [x - middle, i]).sort((a, b) => a[0] - b[0]);
  const left = order.filter(([d]) => d < -1), right = order.filter(([d]) => d > 1), straight = order.length - left.length - right.length;
  const made = new Array(xs.length).fill(0);
  const step = Math.min(STEP, room / Math.max(left.length, right.length, 1));
  if (!straight && order.length > 1) order.forEach(([, i], k) => { made[i] = (k - (order.length - 1) / 2) * Math.min(STEP, 2 * room / order.length); });
  else if (order.length > 1) {
    left.forEach(([, i], k) => { made[i] = (k - left.length) * step; });
    right.forEach(([, i], k) => { made[i] = (k + 1) * step; });
  }
  return made;
}

/* host: an empty element; picture: `verify.picture.page_record`; look(layer) may give a layer's colour, the rank by which it
   counts in its box, a mark (a class of the box), and a note.
   pick({ item, layer }) is called for what is chosen. */
function drawNet(host, picture, { look = () => ({}), pick = () => {} } = {}) {
  const { layers, items, frames, width: WIDE } = picture, half = WIDE / 2;
  const opened = new Set([0]);
  const parent = [], holder = [];
  items.forEach((item, i) => { item.i = i; (item.c || []).forEach((inner) => { parent[inner] = i; }); (item.l || []).forEach((layer) => { holder[layer] = i; }); });
  const boxLayers = (item) => item.l || item.c.flatMap((inner) => boxLayers(items[inner]));
  for (let i = items.length - 1; i >= 0; i--) {
    const item = items[i];
    item.first = item.l ? item.l[0] : items[item.c[0]].first;
    item.count = item.l ? item.l.length : item.c.reduce((sum, inner) => sum + items[inner].count, 0);
    item.boxes = item.l ? 1 : item.c.reduce((sum, inner) => sum + items[inner].boxes, 0);
    item.opens = i > 0 && (item.c || item.l.length > 1);
  }
  /* What leaves each item: the tops that others read, and outputs of the net. */
  items.forEach((item) => { item.gives = []; item.ends = false; });
  for (const frame of Object.values(frames)) for (const edge of frame.edges) if (edge.s >= 0) items[edge.s].gives.push(...edge.b);
  for (const top of picture.outputs) for (let i = holder[top[0]]; i !== undefined; i = parent[i]) {
    items[i].ends = true;
    if (!items[i].gives.some(([layer, index]) => layer === top[0] && index === top[1])) items[i].gives.push(top);
  }
  const shapeOf = ([layer, top]) => layers[layer].o[top][1];
  function pillOf(item) {
    const shapes = new Set(item.gives.map(shapeOf));
    const text = shapes.size === 1 ? [...shapes][0] : "";
    return item.gives.length > 1 ? `${item.gives.length} blobs${text && " of " + text}` : text;
  }

  const world = make("div", { class: "world" }), svg = draw(world, "svg", { width: 1, height: 1, "aria-hidden": "true" });
  const view = { x: 0, y: 0, scale: 1 };
  let chosen = null, hits = new Set(), elements = new Map(), wires = [], extent = { width: 0, height: 0 };
  host.classList.add("net");
  host.tabIndex = 0;
  host.setAttribute("role", "application");
  host.setAttribute("aria-label", "The net as a graph. Arrow keys move from box to box, Enter opens and closes, plus and minus zoom.");
  host.append(world);

  const lines = (item) => item.c || item.l.length > 1 ? 3 : 2;
  function measure(item) {
    const pill = item.gives.length ? PILL : 0;
    item.below = 3;
    if (!opened.has(item.i) && item.times) { item.below += PILED; return Object.assign(item, { left: half, right: half, tall: 16 + LINE * 3, pill: pill + PILED }); }
    if (!opened.has(item.i)) return Object.assign(item, { left: half, right: half, tall: 13 + LINE * lines(item) + (item.c ? 3 : 0), pill });
    if (item.l) return Object.assign(item, { left: half + 10, right: half + 10, tall: HEAD + 8 + ROW * item.l.length + 2, pill });
    const frame = frames[item.i], needs = [], rows = Array.from({ length: frame.rows }, () => 0);
    const row = new Map();
    for (const [inner, at, x] of frame.places) {
      const child = measure(items[inner]);
      Object.assign(child, { row: at, closedX: x });
      rows[at] = Math.max(rows[at], child.tall + child.pill);
      if (child.left > half) needs.push({ from: x - half, to: x, room: child.left });
      if (child.right > half) needs.push({ from: x, to: x + half, room: child.right });
    }
    const f = stretched(needs);
    let least = Infinity, most = -Infinity;
    const span = (x, left, right) => { least = Math.min(least, x - left); most = Math.max(most, x + right); };
    for (const [inner, , x] of frame.places) { const child = items[inner]; child.x = f(x); span(child.x, child.left, child.right); }
    for (const edge of frame.edges) for (const x of [...edge.x || [], edge.u, edge.v]) if (x !== undefined) span(f(x), 6, 6);
    const inward = frame.edges.filter((edge) => edge.s < 0), across = frame.places.map(([inner]) => items[inner].x);
    const anchor = inward.length === 1 ? f(inward[0].u) : inward.length ? (Math.min(...across) + Math.max(...across)) / 2 : across[0];
    /* Where edges have far to go sideways, rows stand further apart. */
    const gaps = new Array(frame.rows + 1).fill(0);
    const reach = (gap, from, to) => { gaps[gap] = Math.max(gaps[gap], 20 + Math.min(46, 0.11 * Math.abs(from - to))); };
    for (const edge of frame.edges) {
      const start = edge.s < 0 ? -1 : items[edge.s].row, way = [edge.s < 0 ? f(edge.u) : items[edge.s].x, ...(edge.x || []).map(f)];
      way.slice(1).forEach((x, k) => reach(start + 1 + k, way[k], x));
      for (const target of edge.t) { const to = target < 0 ? frame.rows : items[target].row; reach(to, way[to - start - 1], target < 0 ? f(edge.v) : items[target].x); }
    }
    const root = item.i === 0;
    if (!root) { gaps[0] = Math.max(gaps[0], 12); gaps[frame.rows] = Math.max(gaps[frame.rows], 12); }
    for (let gap = 1; gap < frame.rows; gap++) gaps[gap] = Math.max(gaps[gap], 12);
    const tops = [];
    let y = (root ? 0 : HEAD) + gaps[0];
    rows.forEach((tall, k) => { tops.push(y); y += tall + gaps[k + 1]; });
    Object.assign(item, { f, anchor, rows, tops, pill, tall: y });
    const edge = root ? 0 : EDGE;
    return Object.assign(item, { left: Math.max(half, anchor - least + edge), right: Math.max(half, most - anchor + edge) });
  }

  /* x of the anchor and y of the upper border, in the world. */
  function place(item, x, y) {
    Object.assign(item, { at: { x, y } });
    shown.push(item);
    if (!opened.has(item.i) || item.l) return;
    const frame = frames[item.i], dx = x - item.anchor;
    for (const [inner] of frame.places) place(items[inner], items[inner].x + dx, y + item.tops[items[inner].row]);
    wireUp(item, frame, dx, y);
  }
  function wireUp(item, frame, dx, y) {
    const root = item.i === 0, f = (v) => item.f(v) + dx;
    const bottomOf = (row) => row < 0 ? y + (root ? 0 : HEAD) : y + item.tops[row] + item.rows[row];
    const topOf = (row) => row < frame.rows ? y + item.tops[row] : y + item.tall;
    const leaving = new Map(), arriving = new Map();
    const drawn = frame.edges.map((edge) => {
      const start = edge.s < 0 ? -1 : items[edge.s].row, first = edge.s < 0 ? f(edge.u) : items[edge.s].at.x;
      const way = [first, ...(edge.x || []).map(f)];
      const made = { edge, start, way };
      if (edge.s >= 0) leaving.set(edge.s, [...leaving.get(edge.s) || [], made]);
      for (const target of edge.t) if (target >= 0) arriving.set(target, [...arriving.get(target) || [], [made, way[items[target].row - start - 1]]]);
      return made;
    });
    for (const [source, list] of leaving) {
      const next = list.map(({ edge, way }) => way[1] ?? (edge.t[0] < 0 ? f(edge.v) : items[edge.t[0]].at.x));
      besides(next, items[source].at.x, half - 24).forEach((offset, k) => { list[k].way[0] += offset; });
    }
    const ends = new Map();
    for (const [target, list] of arriving) besides(list.map(([, x]) => x), items[target].at.x, half - 24).forEach((offset, k) => ends.set(`${list[k][0].edge.i} ${target}`, offset));
    for (const { edge, start, way } of drawn) {
      const path = [], tips = [];
      const bend = (from, to, gap) => {
        const above = bottomOf(gap - 1), below = topOf(gap), pull = (below - above) * 0.55;
        path.push(Math.abs(from - to) < 0.5 ? `V${below}` : `V${above}C${from},${above + pull} ${to},${below - pull} ${to},${below}`);
      };
      const begin = edge.s < 0 ? bottomOf(-1) : items[edge.s].at.y + items[edge.s].tall + Math.max(0, items[edge.s].pill - 2);
      path.push(`M${way[0]},${begin}`);
      for (let k = 1; k < way.length; k++) { bend(way[k - 1], way[k], start + k); path.push(`V${bottomOf(start + k)}`); }
      for (const target of edge.t) {
        const row = target < 0 ? frame.rows : items[target].row, k = row - start - 1;
        const to = target < 0 ? f(edge.v) : items[target].at.x + ends.get(`${edge.i} ${target}`);
        if (k < way.length - 1 || edge.t.length > 1) path.push(`M${way[k]},${k ? bottomOf(start + k) : begin}`);
        bend(way[k], to, row);
        if (target >= 0) tips.push(`M${to - 4},${topOf(row) - 6.5}h8l-4,6.5Z`);
      }
      wires.push({ edge, path: path.join(""), tips: tips.join("") });
    }
  }
  for (const frame of Object.values(frames)) frame.edges.forEach((edge, i) => { edge.i = i; });

  let shown = [];
  const familyOf = (layer) => look(layers[layer]).colour || layers[layer].f;
  const tint = (element, layer) => { element.style.setProperty("--c", `var(--${familyOf(layer)})`); return element; };
  const kindText = (layer) => layers[layer].h ? `${layers[layer].t} ${layers[layer].h}` : layers[layer].t;
  function mixOf(item) {
    const counts = new Map();
    for (const layer of boxLayers(item)) counts.set(familyOf(layer), (counts.get(familyOf(layer)) || 0) + 1);
    const bar = make("span", { class: "mix" });
    for (const [family, count] of counts) { const part = make("i"); part.style.cssText = `--c: var(--${family}); flex: ${count}`; bar.append(part); }
    return bar;
  }
  function closedBox(item) {
    const box = make("button", { type: "button", class: "node", tabindex: "-1" });
    if (item.c) {
      box.classList.add("holds", item.k);
      box.append(make("b", {}, item.n), make("span", { class: "mono" }, item.s), make("span", { class: "more" }, `${grouped(item.count)} layers`), mixOf(item));
      if (item.times) box.append(make("span", { class: "times" }, `× ${grouped(item.times)}`));
    } else {
      const worst = item.l.reduce((a, b) => (look(layers[b]).rank ?? 0) > (look(layers[a]).rank ?? 0) ? b : a);
      tint(box, worst);
      if (look(layers[worst]).mark) box.classList.add(look(layers[worst]).mark);
      box.append(make("b", {}, kindText(item.first)), make("span", { class: "mono" }, item.n));
      if (item.l.length > 1) box.append(make("span", { class: "more" }, "+ " + item.l.slice(1).map((layer) => layers[layer].t).join(", ")));
    }
    const notes = boxLayers(item).map((layer) => look(layers[layer]).note).filter(Boolean);
    box.title = [item.c ? item.n : `${item.n} (${kindText(item.first)})`, ...notes.slice(0, 3)].join("\n");
    if (item.opens) box.setAttribute("aria-expanded", "false");
    return box;
  }
  function openBox(item) {
    const box = make("div", { class: "frame" });
    const head = make("button", { type: "button", class: "head", tabindex: "-1", "aria-expanded": "true", title: item.n }, "− ", make("b", {}, item.n), item.times ? ` ×${item.times}` : "");
    box.append(head);
    (item.l || []).forEach((layer, k) => {
      const row = tint(make("button", { type: "button", class: "row", tabindex: "-1", "data-layer": layer, title: `${layers[layer].n} (${kindText(layer)})` }, kindText(layer)), layer);
      row.style.top = `${HEAD + 8 + ROW * k}px`;
      box.append(row);
    });
    return box;
  }
  function render() {
    shown = [];
    wires = [];
    measure(items[0]);
    place(items[0], items[0].left, 0);
    extent = { width: items[0].left + items[0].right, height: items[0].tall };
    const parts = [];
    elements = new Map();
    for (const item of shown) {
      if (item.i === 0) continue;
      const isOpen = opened.has(item.i), element = isOpen ? openBox(item) : closedBox(item);
      element.dataset.item = item.i;
      element.style.cssText += `;left:${item.at.x - item.left}px;top:${item.at.y}px;width:${item.left + item.right}px;height:${item.tall}px`;
      elements.set(item.i, element);
      parts.push(element);
      const text = item.pill && pillOf(item);
      if (text) {
        const pill = make("span", { class: item.ends ? "pill out" : "pill", title: item.gives.map(([layer, top]) => layers[layer].o[top].join(" ")).slice(0, 12).join("\n") }, text);
        pill.style.cssText = `left:${item.at.x}px;top:${item.at.y + item.tall + item.below}px`;
        parts.push(pill);
      }
    }
    svg.replaceChildren();
    for (const wire of wires) {
      wire.line = draw(svg, "path", { class: "wire", d: wire.path });
      wire.heads = draw(svg, "path", { class: "tips", d: wire.tips });
    }
    const frames = parts.filter((part) => part.classList.contains("frame"));
    world.replaceChildren(...frames, svg, ...parts.filter((part) => !part.classList.contains("frame")));
    mark();
  }
  /* The outermost box that is shown for a layer or an item. */
  function visible(item) {
    let found = item;
    for (let i = item; i !== undefined && i > 0; i = parent[i]) if (!opened.has(parent[i])) found = parent[i];
    return found;
  }
  function mark() {
    for (const [i, element] of elements) {
      element.classList.toggle("picked", chosen !== null && chosen.item === i && (chosen.layer === undefined || !opened.has(i)));
      element.classList.toggle("hit", !opened.has(i) && items[i].hit === true);
      for (const row of element.querySelectorAll(".row")) {
        row.classList.toggle("picked", chosen !== null && chosen.layer === Number(row.dataset.layer));
        row.classList.toggle("hit", hits.has(Number(row.dataset.layer)));
      }
    }
    for (const { edge, line, heads } of wires) {
      const near = chosen !== null && (edge.s === chosen.item || edge.t.includes(chosen.item));
      line.classList.toggle("near", near);
      heads.classList.toggle("near", near);
    }
  }

  const apply = () => { world.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`; };
  function keepInside() {
    const room = 60, wide = extent.width * view.scale, tall = extent.height * view.scale;
    view.x = Math.min(host.clientWidth - room, Math.max(room - wide, view.x));
    view.y = Math.min(host.clientHeight - room, Math.max(room - tall, view.y));
    apply();
  }
  function zoomTo(scale, x = host.clientWidth / 2, y = host.clientHeight / 2) {
    const next = Math.min(2.5, Math.max(0.04, scale)), factor = next / view.scale;
    view.x = x - (x - view.x) * factor;
    view.y = y - (y - view.y) * factor;
    view.scale = next;
    keepInside();
  }
  function fit(whole) {
    const margin = 20, wide = (host.clientWidth - 2 * margin) / extent.width, tall = (host.clientHeight - 2 * margin) / extent.height;
    view.scale = whole ? Math.min(1, wide, tall) : Math.min(1, Math.max(0.6, wide));
    const free = host.clientWidth - extent.width * view.scale;
    view.x = free > 0 ? free / 2 : Math.min(margin, Math.max(free - margin, host.clientWidth / 2 - items[0].left * view.scale));
    view.y = whole ? Math.max(margin, (host.clientHeight - extent.height * view.scale) / 2) : margin;
    apply();
  }
  /* Open or close without moving what was pointed at. */
  function toggle(item, open = !opened.has(item)) {
    if (!items[item].opens || open === opened.has(item)) return;
    const before = { ...items[item].at };
    if (open) opened.add(item); else opened.delete(item);
    render();
    const after = items[item].at;
    view.x += (before.x - after.x) * view.scale;
    view.y += (before.y - after.y) * view.scale;
    if (open) showWide(item, view.y + after.y * view.scale);
    keepInside();
  }
  function show(item) {
    const { at, left, right, tall } = items[item], margin = 40;
    const x = view.x + at.x * view.scale, y = view.y + at.y * view.scale;
    const out = x - left * view.scale < 0 || x + right * view.scale > host.clientWidth || y < margin / 2 || y + Math.min(tall, 60) * view.scale > host.clientHeight - margin;
    if (!out) return;
    view.x += host.clientWidth / 2 - x;
    view.y += Math.max(margin, host.clientHeight / 3) - y;
    keepInside();
  }
  function choose(item, layer, tell = true) {
    chosen = { item, layer };
    mark();
    show(item);
    if (tell) pick({ item, layer: layer ?? (items[item].l && items[item].l.length === 1 ? items[item].first : undefined) });
  }
  /* Open what a layer is within, and choose it. */
  function reveal(layer, { inBox = true, tell = true } = {}) {
    const box = holder[layer];
    for (let i = parent[box]; i !== undefined; i = parent[i]) opened.add(i);
    if (inBox && items[box].l.length > 1 && layer !== items[box].first) opened.add(box);
    render();
    choose(box, layer, tell);
    if (parent[box] > 0) showWide(parent[box]);
  }
  /* Make a frame as wide as it has room, where its box in the middle of the view is only part of it. */
  function showWide(item, y) {
    const { at, left, right } = items[item], wide = left + right + 48;
    if (wide * view.scale > host.clientWidth) zoomTo(Math.max(0.55, host.clientWidth / wide), undefined, y);
    const start = view.x + (at.x - left) * view.scale, end = view.x + (at.x + right) * view.scale;
    if (end - start < host.clientWidth && (start < 0 || end > host.clientWidth)) view.x += host.clientWidth / 2 - (start + end) / 2;
    keepInside();
  }
  /* All boxes open, the outer ones first, while there are not too many; whether it was all. */
  function openAll(most = 2500) {
    let level = [0], count = 0;
    while (level.length && count < most) {
      for (const i of level) { if (items[i].c && (i === 0 || count + items[i].c.length <= most)) { opened.add(i); count += items[i].c.length; } }
      level = level.filter((i) => opened.has(i)).flatMap((i) => items[i].c.filter((inner) => items[inner].c));
    }
    render();
    keepInside();
    return items.every((item, i) => !item.c || opened.has(i));
  }
  function closeAll() { opened.clear(); opened.add(0); render(); if (chosen) chosen = { item: visible(chosen.item) }; mark(); fit(false); }
  function search(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    hits = new Set();
    items.forEach((item) => { item.hit = false; });
    if (words.length) layers.forEach((layer, i) => {
      const all = `${layer.n} ${layer.t} ${layer.o.map(([name]) => name).join(" ")}`.toLowerCase();
      if (!words.every((word) => all.includes(word))) return;
      hits.add(i);
      for (let k = holder[i]; k !== undefined && !items[k].hit; k = parent[k]) items[k].hit = true;
    });
    mark();
    return [...hits];
  }
  function neighbour(key) {
    const from = chosen ? items[visible(chosen.item)] : null;
    if (!from || !from.at) return items[0].c[0];
    const frame = frames[parent[from.i]];
    if (key === "ArrowDown" || key === "ArrowUp") {
      const ways = frame.edges.filter((edge) => key === "ArrowDown" ? edge.s === from.i : edge.t.includes(from.i)).flatMap((edge) => key === "ArrowDown" ? edge.t : [edge.s]);
      const inner = key === "ArrowDown" && opened.has(from.i) && from.c ? from.c[0] : undefined;
      const next = inner ?? ways.filter((i) => i >= 0).sort((a, b) => Math.abs(items[a].row - from.row) - Math.abs(items[b].row - from.row))[0];
      return next ?? (parent[from.i] > 0 ? key === "ArrowUp" ? parent[from.i] : neighbourOf(parent[from.i]) : from.i);
    }
    const row = frame.places.filter(([, at]) => at === from.row).map(([i]) => i).sort((a, b) => items[a].at.x - items[b].at.x);
    return row[row.indexOf(from.i) + (key === "ArrowRight" ? 1 : -1)] ?? from.i;
  }
  function neighbourOf(item) {
    const next = frames[parent[item]].edges.filter((edge) => edge.s === item).flatMap((edge) => edge.t).find((i) => i >= 0);
    return next ?? item;
  }

  world.addEventListener("click", (event) => {
    const row = event.target.closest(".row"), part = event.target.closest("[data-item]");
    if (!part || moved) return;
    const item = Number(part.dataset.item);
    if (row) { choose(item, Number(row.dataset.layer)); return; }
    if (items[item].opens && (part.classList.contains("node") || event.target.closest(".head"))) toggle(item);
    if (elements.has(item)) choose(item);
  });
  const fingers = new Map();
  let moved = false;
  host.addEventListener("pointerdown", (event) => {
    if (event.target.closest(".zoom")) return;
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    moved = false;
  });
  host.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY], dx = now[0] - before[0], dy = now[1] - before[1];
    if (!moved && fingers.size === 1 && Math.hypot(dx, dy) < 4) return;
    if (!moved) { moved = true; host.setPointerCapture(event.pointerId); host.classList.add("dragged"); }
    const other = [...fingers].find(([id]) => id !== event.pointerId);
    fingers.set(event.pointerId, now);
    if (!other) { view.x += dx; view.y += dy; keepInside(); return; }
    const frame = host.getBoundingClientRect(), far = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
    view.x += dx / 2;
    view.y += dy / 2;
    zoomTo(view.scale * far(now, other[1]) / far(before, other[1]), (now[0] + other[1][0]) / 2 - frame.left, (now[1] + other[1][1]) / 2 - frame.top);
  });
  for (const name of ["pointerup", "pointercancel"]) host.addEventListener(name, (event) => { fingers.delete(event.pointerId); host.classList.remove("dragged"); });
  host.addEventListener("wheel", (event) => {
    event.preventDefault();
    const frame = host.getBoundingClientRect(), unit = event.deltaMode ? 20 : 1;
    if (event.ctrlKey || event.metaKey) zoomTo(view.scale * Math.exp(-event.deltaY * unit * 0.01), event.clientX - frame.left, event.clientY - frame.top);
    else { view.x -= (event.shiftKey && !event.deltaX ? event.deltaY : event.deltaX) * unit; view.y -= (event.shiftKey && !event.deltaX ? 0 : event.deltaY) * unit; keepInside(); }
  }, { passive: false });
  host.addEventListener("keydown", (event) => {
    const { key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (key.startsWith("Arrow")) choose(neighbour(key));
    else if (key === "Enter" || key === " ") { if (chosen) { const item = visible(chosen.item); toggle(item); choose(item); } }
    else if (key === "+" || key === "=") zoomTo(view.scale * 1.25);
    else if (key === "-") zoomTo(view.scale / 1.25);
    else if (key === "0") fit(true);
    else if (key === "Escape") { chosen = null; mark(); pick(null); }
    else return;
    event.preventDefault();
    host.focus({ preventScroll: true });
  });
  const zoom = make("div", { class: "zoom" });
  for (const [label, name, act] of [["−", "Zoom out", () => zoomTo(view.scale / 1.25)], ["+", "Zoom in", () => zoomTo(view.scale * 1.25)], ["fit", "Show the whole net", () => fit(true)]]) {
    const button = make("button", { type: "button", title: name, "aria-label": name }, label);
    button.addEventListener("click", act);
    zoom.append(button);
  }
  host.append(zoom);
  render();
  fit(false);
  return { layers, items, holder, parent, boxLayers, kindText, reveal, choose, toggle, openAll, closeAll, search, fit, zoomTo, view, isOpen: (i) => opened.has(i) };
}
const SI = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
function short(value, unit = "") {
  const [size, letter] = SI.find(([least]) => value >= least) || [1, ""];
  return `${size === 1 ? value : Number((value / size).toPrecision(3))} ${letter}${unit}`.trim();
}
function familyLegend(box, families, names = {}) {
  for (const family of families) {
    const sample = make("i");
    sample.style.setProperty("--c", `var(--${family})`);
    box.append(make("span", {}, sample, names[family] || family));
  }
}
