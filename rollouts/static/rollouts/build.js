// The log of a build: follows its end while the reader is there, and keeps still once they scroll up.
// stack.js brings the new lines.
"use strict";
(() => {
  const state = document.querySelector("#state");
  const log = () => document.querySelector("#log");
  const NEAR_PX = 8;
  let following = true;

  function toEnd() {
    if (log()) log().scrollTop = log().scrollHeight;
  }
  document.addEventListener("scroll", (event) => {
    const box = event.target;
    if (box.id !== "log") return;
    following = box.scrollTop + box.clientHeight >= box.scrollHeight - NEAR_PX;
  }, true);
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-log-end]")) return;
    following = true;
    toEnd();
  });
  new MutationObserver(() => { if (following) toEnd(); }).observe(state, { childList: true, subtree: true });
  toEnd();
})();
