// The deploy form: the button names the chosen version, the search filters as you type, and the
// form is sent once. Everything works without this file.
"use strict";
(() => {
  const summary = document.querySelector("[data-errors]");
  if (summary) summary.focus();
  const form = document.querySelector("form.deploy");
  if (!form) return;
  const text = form.querySelector("#go span");
  const cards = [...form.querySelectorAll("[data-label]")];

  form.addEventListener("change", (event) => {
    const card = event.target.closest("[data-label]");
    if (card && text) text.textContent = `Deploy ${card.dataset.label}`;
  });
  form.addEventListener("input", (event) => {
    if (event.target.name !== "steps") return;
    const custom = form.querySelector('[name=strategy][value="custom"]');
    if (custom) custom.checked = true;
  });
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
  });
  window.addEventListener("pageshow", () => delete form.dataset.sent);

  const find = document.querySelector("#find");
  if (find) {
    find.addEventListener("input", () => {
      const wanted = find.value.trim().toLowerCase();
      for (const card of cards) card.hidden = !card.dataset.label.toLowerCase().includes(wanted);
    });
  }
})();
