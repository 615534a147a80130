// The request sample: newest on top, at most 80 rows; frozen by the button, and by itself while the
// pointer or the focus is inside, so that rows never move under a reader.
"use strict";

(() => {
  const { $, $$, hms } = window.mesh;
  const MOST = 80;
  const live = $("#live");
  const body = $("#reqs");
  const box = $("#reqbox");
  const freeze = $("#freeze");
  const template = $("#row-template").content.firstElementChild;
  const versions = {
    [live.dataset.new]: [live.dataset.newLabel, `s${live.dataset.newSlot}`, "new"],
    [live.dataset.old]: [live.dataset.oldLabel, `s${live.dataset.oldSlot}`, "old"],
  };
  let frozen = false;
  let inside = false;
  let held = [];
  let filter = "all";
  let last = Number(body.rows[0]?.dataset.id || 0);

  function make([id, t, version, ok, status, latency, message]) {
    const row = template.cloneNode(true);
    const [time, name, state, took, text] = row.cells;
    const at = new Date(t * 1000);
    row.dataset.id = id;
    row.dataset.v = version ?? "";
    row.className = ok ? "" : "err";
    time.firstElementChild.dateTime = at.toISOString();
    time.firstElementChild.title = at.toISOString();
    time.firstElementChild.textContent = hms(at);
    const [label, colour, role] = versions[version] || ["—", "", ""];
    name.firstElementChild.textContent = label;
    name.firstElementChild.className = version === null ? "" : `ver ${colour} ${role}`;
    state.textContent = status;
    took.textContent = `${latency.toFixed(latency < 10 ? 1 : 0)} ms`;
    text.textContent = message;
    row.hidden = !passes(row);
    return row;
  }

  function passes(row) {
    if (filter === "all") return true;
    return filter === "err" ? row.classList.contains("err") : row.dataset.v === filter;
  }

  function flush() {
    body.prepend(...held.reverse());
    held = [];
    while (body.rows.length > MOST) body.lastElementChild.remove();
    say();
  }

  function say() {
    const words = held.length ? `Follow (${held.length} new)` : "Follow";
    freeze.lastElementChild.textContent = frozen ? words : "Freeze";
    const empty = $("#req-empty");
    const shown = [...body.rows].some((row) => !row.hidden);
    empty.hidden = shown;
    if (!shown && body.rows.length) empty.textContent = filter === "err" ? `No errors among the last ${body.rows.length} samples.` : `None of the last ${body.rows.length} samples.`;
  }

  document.addEventListener("mesh:req", (event) => {
    if (event.detail.topic !== live.dataset.topic || document.hidden) return;
    for (const sample of event.detail.r) {
      if (sample[0] <= last) continue; // told twice after a reconnect
      last = sample[0];
      held.push(make(sample));
    }
    if (held.length > MOST) held.splice(0, held.length - MOST);
    if (!frozen && !inside) flush();
    else say();
  });

  freeze.addEventListener("click", () => {
    frozen = !frozen;
    freeze.setAttribute("aria-pressed", String(frozen));
    if (!frozen) flush();
    say();
  });

  function reads(now) {
    inside = now;
    if (!inside && !frozen) flush();
  }

  box.addEventListener("pointerenter", () => reads(true));
  box.addEventListener("pointerleave", () => reads(false));
  box.addEventListener("focusin", () => reads(true));
  box.addEventListener("focusout", () => reads(false));
  $("#filter").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    filter = button.dataset.f;
    for (const other of $$("button", $("#filter"))) other.setAttribute("aria-pressed", String(other === button));
    for (const row of body.rows) row.hidden = !passes(row);
    say();
  });
  say();
})();
