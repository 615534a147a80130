// Links marked data-dlg open the page they lead to as a dialog. Without script they are just links.
//
// The server answers our requests (HX-Request: true) with the form only. On POST:
//   2xx            done: the dialog closes; hx-partials in the body are swapped in, HX-Redirect is followed,
//                  and the document hears "acted" (the page asks for its parts again)
//   409            things have moved on: the fresh form (or the sentence) replaces the dialog's body
//   other 4xx, 5xx the sentence is shown in the dialog, which stays with what was typed
"use strict";

(() => {
  const { $, times, signedOut, announce } = window.mesh;
  const dialog = $("#dlg");
  const GUARD_MS = 400; // a double press of Enter must not confirm what the first one opened
  const HEADERS = { "HX-Request": "true" };
  let opener = null;
  let openerId = "";
  let armedAt = 0;

  function isSignIn(response) {
    return response.status === 401
      || (response.redirected && new URL(response.url).pathname === document.body.dataset.login);
  }

  // ---- open
  async function open(link) {
    opener = link;
    openerId = link.id;
    try {
      const response = await fetch(link.href, { headers: HEADERS, credentials: "same-origin" });
      if (isSignIn(response)) return signedOut();
      show(await response.text());
    } catch {
      window.mesh.toast("The server did not answer. Nothing was changed.", "error");
    }
    return undefined;
  }

  function show(body) {
    dialog.innerHTML = body; // our own server's template; the content security policy forbids scripts in it
    // The label of a dialog without the form's title is its first sentence.
    const title = $("#dlg-t", dialog) || dialog.firstElementChild;
    if (title) title.id = "dlg-t";
    if (!$("[data-close]", dialog)) dialog.append(closeButton());
    times(dialog);
    if (!dialog.open) dialog.showModal();
    armedAt = performance.now();
    ($("[name=typed]", dialog) || $("[data-act]", dialog) || $(".btn", dialog))?.focus();
  }

  function closeButton() {
    const button = document.createElement("button");
    button.className = "btn";
    button.type = "button";
    button.dataset.close = "";
    button.textContent = "Close";
    return button;
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-dlg][href]");
    const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0;
    if (link && plain) {
      event.preventDefault();
      open(link);
    }
    if (dialog.open && event.target.closest("#dlg [data-close]")) {
      event.preventDefault();
      dialog.close();
    }
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // the backdrop
  });

  // ---- send
  dialog.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    event.preventDefault();
    const button = $("[data-act]", form) || $("button", form);
    if (performance.now() - armedAt < GUARD_MS || button.disabled) return;
    send(form, button);
  });

  async function send(form, button) {
    const words = button.textContent;
    // Plain form fields (urlencoded): what the page without script sends.
    const body = new URLSearchParams(new FormData(form));
    button.disabled = true;
    button.textContent = "Sending…";
    try {
      const response = await fetch(form.action, { method: "POST", body, headers: HEADERS, credentials: "same-origin" });
      await answered(response, form);
    } catch {
      problem(form, "The server did not answer, so it is not known whether this was received. "
        + "Sending again is safe: the same request acts once.");
    } finally {
      button.disabled = false;
      button.textContent = words;
    }
  }

  async function answered(response, form) {
    if (isSignIn(response)) {
      dialog.close();
      return signedOut();
    }
    const text = await response.text();
    if (response.ok) return done(response, text);
    if (response.status === 409 && text) return show(text);
    return problem(form, sentenceOf(text) || `The server answered ${response.status}. Nothing is known to have changed.`);
  }

  async function done(response, text) {
    const told = response.headers.get("HX-Redirect");
    const followed = response.redirected ? new URL(response.url) : null;
    dialog.close();
    if (told || (followed && followed.pathname !== location.pathname)) {
      location.assign(told || followed.href);
      return;
    }
    if (text.includes("<hx-partial")) {
      await window.htmx.swap({ text, swap: "none", target: document.body, sourceElement: document.body });
    }
    document.dispatchEvent(new Event("acted"));
    announce("Requested.");
  }

  /** The sentence in an error answer: its alert, or all its words when it is plain text. */
  function sentenceOf(text) {
    const parsed = new DOMParser().parseFromString(text, "text/html");
    const alert = $("[role=alert] p, p[role=alert], .verdict, .problem", parsed);
    return (alert || parsed.body).textContent.trim().slice(0, 500);
  }

  function problem(form, sentence) {
    let line = $(".problem", form);
    if (!line) {
      line = document.createElement("p");
      line.className = "problem";
      line.setAttribute("role", "alert");
      $("h2", form)?.after(line);
    }
    line.textContent = sentence;
  }

  // ---- close: focus goes back to the button that opened it, even when a live update replaced it
  dialog.addEventListener("close", () => {
    dialog.replaceChildren();
    const back = opener?.isConnected ? opener : openerId && document.getElementById(openerId);
    (back || $("#main")).focus();
  });
})();
