// Live parts: fetches the HTML of a part again when the stream says that its topic changed, or
// every few seconds where there is no topic; and the Copy buttons. Works with live.js, which opens
// the stream and dispatches "mesh:changed".
"use strict";
(() => {
  const part = document.querySelector(".live-part");
  let waiting = false;

  function refresh() {
    if (!part || waiting || document.querySelector("dialog[open]")) return;
    waiting = true;
    htmx.ajax("GET", part.dataset.part, { target: "#state", swap: "innerMorph" })
      .finally(() => { waiting = false; });
  }
  document.addEventListener("mesh:changed", (event) => {
    if (part && event.detail.topic === part.dataset.topic) refresh();
  });
  // A beat carries the revision of each topic: one that was missed is made up for here.
  let seen;
  document.addEventListener("mesh:beat", (event) => {
    const revision = part && event.detail.topics && event.detail.topics[part.dataset.topic];
    if (!revision || revision === seen) return;
    seen = revision;
    refresh();
  });
  if (part && part.dataset.poll) {
    setInterval(() => { if (!document.hidden) refresh(); }, part.dataset.poll * 1000);
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    const before = button.innerHTML;
    button.textContent = "Copied";
    setTimeout(() => { button.innerHTML = before; }, 2000);
  });
})();
