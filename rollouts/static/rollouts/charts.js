// The three charts of the rollout page: split, success, p95 (uPlot on canvas). They replace the SVG
// that the server drew, follow the stream, and can be read with the keyboard.
"use strict";

(() => {
  const { $, hms } = window.mesh;
  const live = $("#live");
  const { newLabel, oldLabel, newSlot, oldSlot } = live.dataset;
  const ratio = () => devicePixelRatio;
  const NAMES = ["t", "d", "o", "sN", "sO", "pN", "pO"];
  const columns = Object.fromEntries(NAMES.map((name) => [name, []]));
  let marks = [];
  let span = 900;
  let follows = false;
  let charts = [];

  // ---- colours come from the page's tokens, so a change of theme is a redraw
  let colour = {};
  let patterns = {};
  let font = "12px sans-serif";
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function readColours() {
    colour = { ink: token("--ink"), muted: token("--muted"), grid: token("--grid"), danger: token("--danger"), surface: token("--surface") };
    colour.new = token(`--s${newSlot}`);
    colour.newSoft = token(`--s${newSlot}-soft`);
    colour.old = token(`--s${oldSlot || 1}`);
    colour.oldSoft = token(`--s${oldSlot || 1}-soft`);
    patterns = {};
    font = `12px ${token("--f")}`;
  }

  function hatch(back, front) {
    const key = back + front;
    if (patterns[key]) return patterns[key];
    const size = Math.round(8 * ratio());
    const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
    const pen = canvas.getContext("2d");
    pen.fillStyle = back;
    pen.fillRect(0, 0, size, size);
    pen.strokeStyle = front;
    pen.globalAlpha = 0.55;
    pen.lineWidth = ratio();
    for (const shift of [-size, 0, size]) {
      pen.beginPath();
      pen.moveTo(shift, size);
      pen.lineTo(shift + size, 0);
      pen.stroke();
    }
    patterns[key] = pen.createPattern(canvas, "repeat");
    return patterns[key];
  }

  // ---- data: a point may come again when a late count changed it
  function put(row) {
    const t = columns.t;
    let at = t.length;
    while (at > 0 && t[at - 1] >= row[0]) at -= 1;
    const replace = t[at] === row[0] ? 1 : 0;
    NAMES.forEach((name, index) => columns[name].splice(at, replace, row[index]));
  }

  function trim() {
    const first = columns.t[columns.t.length - 1] - span;
    let count = 0;
    while (columns.t[count] < first) count += 1;
    if (count) for (const name of NAMES) columns[name].splice(0, count);
  }

  // 100 wherever something was observed: what the new version does not take, the old one does.
  const full = () => columns.o.map((value) => (value === null ? null : 100));
  const sets = () => [
    [columns.t, full(), columns.o, columns.d],
    [columns.t, columns.sO, columns.sN],
    [columns.t, columns.pO, columns.pN],
  ];

  // ---- drawing
  function lines(u) {
    const { ctx: pen, bbox } = u;
    pen.save();
    for (const [t, , , undo] of marks) {
      const x = u.valToPos(t, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      pen.strokeStyle = undo ? colour.danger : colour.ink;
      pen.globalAlpha = undo ? 0.9 : 0.4;
      pen.setLineDash(undo ? [] : [3 * ratio(), 3 * ratio()]);
      pen.lineWidth = ratio() * (undo ? 1.5 : 1);
      pen.beginPath();
      pen.moveTo(x, bbox.top);
      pen.lineTo(x, bbox.top + bbox.height);
      pen.stroke();
    }
    pen.restore();
  }

  function labels(u) {
    const share = columns.o[columns.o.length - 1];
    if (share === undefined || share === null) return;
    if (share > 12) label(u, `${newLabel} ${Math.round(share)} %`, share / 2, colour.new);
    if (share < 88 && oldLabel) label(u, `${oldLabel} ${100 - Math.round(share)} %`, (100 + share) / 2, colour.old);
  }

  function label(u, text, value, ink) {
    const { ctx: pen, bbox } = u;
    pen.save();
    pen.font = `600 ${12 * ratio()}px ${token("--m")}`;
    pen.textAlign = "right";
    const y = u.valToPos(value, "y", true);
    const width = pen.measureText(text).width;
    const right = bbox.left + bbox.width - 6 * ratio();
    pen.fillStyle = colour.surface;
    pen.fillRect(right - width - 10 * ratio(), y - 9 * ratio(), width + 10 * ratio(), 18 * ratio());
    pen.fillStyle = ink;
    pen.fillText(text, right - 5 * ratio(), y + 4 * ratio());
    pen.restore();
  }

  /** Step numbers in the strip above; closer than 20 px they share a badge. */
  function badges(u) {
    const box = $("#marks");
    const left = u.bbox.left / ratio();
    const width = u.bbox.width / ratio();
    const groups = [];
    for (const [t, number, name, undo] of marks) {
      const x = u.valToPos(t, "x");
      if (x < 0 || x > width) continue;
      const near = groups[groups.length - 1];
      if (near && x - near.last < 20 && near.undo === undo) Object.assign(near, { to: number, last: x, names: [...near.names, name] });
      else groups.push({ x, last: x, from: number, to: number, undo, names: [name] });
    }
    while (box.children.length > groups.length) box.lastChild.remove();
    groups.forEach((group, index) => {
      const badge = box.children[index] || box.appendChild(document.createElement("span"));
      badge.textContent = group.undo ? "↩" : group.from === group.to ? group.from : `${group.from}–${group.to}`;
      badge.title = group.names.join(", ");
      badge.className = group.undo ? "rb" : "";
      badge.style.left = `${left + group.x}px`;
    });
  }

  // ---- the readout under the chart
  const percent = (value, places) => (value === null || value === undefined ? "—" : `${value.toFixed(places)} %`);
  const millis = (value) => (value === null || value === undefined ? "—" : `${value.toFixed(value < 10 ? 1 : 0)} ms`);

  function readout(u) {
    const at = u.cursor.idx ?? columns.t.length - 1; // nobody points at anything: now
    if (columns.t[at] === undefined) return;
    const line = $("#readout");
    const said = [
      [`${hms(new Date(columns.t[at] * 1000))} · desired ${newLabel} `, percent(columns.d[at], 0)],
      [" · observed ", percent(columns.o[at], 1)],
      [" · success ", percent(columns.sN[at], 2)],
      [" · p95 ", millis(columns.pN[at])],
    ];
    line.textContent = "";
    for (const [words, value] of said) {
      const bold = document.createElement("b");
      bold.textContent = value;
      line.append(words, bold);
    }
  }

  // ---- uPlot's options
  const axis = (more) => ({ stroke: () => colour.muted, font, grid: { stroke: () => colour.grid, width: 1 }, ticks: { show: false }, ...more });
  const timeAxis = () => axis({
    size: 26, space: 76, grid: { show: false }, incrs: [10, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600],
    values: (u, values, a, space, step) => values.map((value) => hms(new Date(value * 1000)).slice(0, step < 60 ? 8 : 5)),
  });

  /** The chosen window, but no wider than what there is to see; two minutes at the least. */
  function range() {
    const last = columns.t[columns.t.length - 1] ?? Date.now() / 1000;
    const seen = columns.t.find((t, i) => columns.o[i] !== null || columns.sO[i] !== null);
    return [Math.min(last - 120, Math.max(last - span, seen ?? last - span)), last];
  }

  function options(box, y, axes, series, more = {}) {
    return {
      width: box.clientWidth, height: box.clientHeight, padding: [9, 28, 0, 0], legend: { show: false },
      cursor: { sync: { key: "rollout" }, drag: { x: false, y: false }, points: { show: false } },
      scales: { x: { time: true, range }, y }, axes: [timeAxis(), ...axes], series: [{}, ...series], ...more,
    };
  }

  const line = (name, width) => ({ stroke: () => colour[name], width, points: { show: false }, spanGaps: false });

  function build() {
    readColours();
    charts.forEach((chart) => chart.destroy());
    const [split, success, p95] = [$("#plot-split"), $("#plot-ok"), $("#plot-p95")];
    $(".ssvg", split)?.remove();
    const data = sets();
    const plain = (step) => ({ width: 0, stroke: () => colour.oldSoft, fill: () => colour.oldSoft, points: { show: false }, ...step });
    charts = [
      new uPlot(options(split, { range: [0, 100] }, [axis({ size: 48, splits: [0, 25, 50, 75, 100], values: (u, v) => v.map((x) => `${x} %`) })], [
        plain({}),
        { stroke: () => colour.new, width: 1.5, fill: () => hatch(colour.newSoft, colour.new), points: { show: false } },
        { stroke: () => colour.ink, width: 2, dash: [7, 5], paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } },
      ], { hooks: { draw: [lines, labels, badges], setCursor: [readout] } }), data[0], split),
      new uPlot(options(success, { range: (u, low) => [Math.min(98, Math.floor(low ?? 98)), 100] }, [axis({ size: 48, values: (u, v) => v.map((x) => `${x} %`) })],
        [line("old", 1.5), line("new", 2.5)], { hooks: { draw: [lines] } }), data[1], success),
      new uPlot(options(p95, { range: (u, low, high) => [0, Math.max(10, (high ?? 0) * 1.15)] }, [axis({ size: 56, values: (u, v) => v.map((x) => `${x} ms`) })],
        [line("old", 1.5), line("new", 2.5)], { hooks: { draw: [lines] } }), data[2], p95),
    ];
  }

  let due = false;
  function draw() {
    if (due || document.hidden) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      const data = sets();
      charts.forEach((chart, index) => chart.setData(data[index]));
      if (charts.length && (charts[0].cursor.idx ?? null) === null) readout(charts[0]);
    });
  }

  // ---- reading with the keyboard
  function keys(event) {
    const chart = charts[0];
    const count = columns.t.length;
    if (!chart || !count || !["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
    event.preventDefault();
    const step = (event.shiftKey ? 60 : 5) * (event.key === "ArrowLeft" ? -1 : 1);
    let at = (chart.cursor.idx ?? count - 1) + step;
    if (event.key === "Home") at = 0;
    if (event.key === "End") at = count - 1;
    at = Math.max(0, Math.min(count - 1, at));
    $("#readout").setAttribute("aria-live", "polite");
    chart.setCursor({ left: chart.valToPos(columns.t[at], "x"), top: 10 });
  }

  async function load() {
    const response = await fetch(live.dataset.series, { credentials: "same-origin" });
    if (!response.ok || response.redirected) return;
    const data = await response.json();
    window.mesh.skew = data.now - Date.now() / 1000;
    for (const name of NAMES) columns[name] = data.columns[name];
    span = data.last - data.first + 1;
    marks = data.marks;
    follows = data.live;
    if (charts.length) draw();
    else build();
    performance.mark("chart-ready");
  }

  document.addEventListener("mesh:pt", (event) => {
    if (!follows || event.detail.topic !== live.dataset.topic || !charts.length) return;
    event.detail.p.forEach(put);
    trim();
    draw();
  });
  document.addEventListener("mesh:refreshed", load); // steps have moved: their marks come with the series
  document.addEventListener("visibilitychange", draw);
  document.addEventListener("themechange", () => {
    readColours();
    charts.forEach((chart) => chart.redraw(false, true));
  });
  $("#plot-split").addEventListener("keydown", keys);
  $("#plot-split").addEventListener("blur", () => $("#readout").setAttribute("aria-live", "off"));
  new ResizeObserver(() => charts.forEach((chart) => {
    const box = chart.root.parentElement;
    if (box.clientWidth !== chart.width) chart.setSize({ width: box.clientWidth, height: box.clientHeight });
  })).observe($(".split"));
  load();
})();
