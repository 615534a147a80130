// The rest of the rollout page: present figures in place, and #step-5 in the address.
"use strict";

(() => {
  const { $, $$ } = window.mesh;
  const live = $("#live");
  const percent = (value, places) => (value === null ? "—" : `${value.toFixed(places)} %`);
  const millis = (value) => (value === null ? "—" : `${value.toFixed(value < 10 ? 1 : 0)} ms`);

  function put(element, text) {
    if (element && element.textContent !== text) element.textContent = text;
  }

  document.addEventListener("mesh:fig", (event) => {
    if (event.detail.topic !== live.dataset.topic) return;
    for (const [version, observed, success, p95, rate] of event.detail.v) {
      const texts = { o: percent(observed, 1), ok: percent(success, 2), p95: millis(p95), rps: rate === null ? "—" : rate.toFixed(1) };
      for (const place of $$(`#versions [data-v="${version}"], #summary .cmp[data-v="${version}"]`)) {
        for (const key of Object.keys(texts)) put($(`[data-k=${key}]`, place), texts[key]);
      }
    }
  });

  function highlight() {
    const name = location.hash.slice(1);
    for (const step of $$(".tl li.target")) step.classList.remove("target");
    if (/^step-\d+$/.test(name)) document.getElementById(name)?.classList.add("target");
  }

  addEventListener("hashchange", highlight);
  document.addEventListener("mesh:refreshed", highlight);
  highlight();
})();
