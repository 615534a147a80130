// Runs on every page: theme, times, countdowns, shortcuts, toasts, copy link.
// Offers window.mesh to the scripts of single pages. Never acts on anything by itself.
"use strict";

(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const html = document.documentElement;
  const { icons, services, rollouts } = document.body.dataset;
  const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

  function remember(name, value) {
    const secure = location.protocol === "https:" ? ";secure" : "";
    document.cookie = `${name}=${value};path=/;max-age=31536000;samesite=lax${secure}`;
  }

  // ---- theme: the server prints the cookie's value, so there is no flash and no inline script
  const THEMES = { auto: ["monitor", "automatic"], light: ["sun", "light"], dark: ["moon", "dark"] };

  function showTheme(theme) {
    const [icon, word] = THEMES[theme];
    html.dataset.theme = theme;
    const button = $("#theme");
    button.setAttribute("aria-label", `Theme: ${word}`);
    button.title = `Theme: ${word}`;
    $("use", button).setAttribute("href", `${icons}#${icon}`);
    document.dispatchEvent(new Event("themechange"));
  }

  $("#theme").addEventListener("click", () => {
    const names = Object.keys(THEMES);
    const next = names[(names.indexOf(html.dataset.theme) + 1) % names.length];
    remember("theme", next);
    showTheme(next);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    document.dispatchEvent(new Event("themechange"));
  });

  // ---- times: 24 h, UTC or local, one switch for the whole page
  const two = (number) => String(number).padStart(2, "0");
  const isUtc = () => html.dataset.tz === "utc";

  function partsOf(date) {
    return isUtc()
      ? [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()]
      : [date.getFullYear(), date.getMonth(), date.getDate(), date.getHours(), date.getMinutes(), date.getSeconds()];
  }

  /** HH:MM:SS of a Date in the chosen zone. */
  function hms(date) {
    return partsOf(date).slice(3).map(two).join(":");
  }

  /** HH:MM:SS today, "12 Nov 11:33" this year, "12 Nov 2025 11:33" before. */
  function dateText(date) {
    const [year, month, day, hour, minute] = partsOf(date);
    const [thisYear, thisMonth, thisDay] = partsOf(new Date(now() * 1000));
    if (year === thisYear && month === thisMonth && day === thisDay) return hms(date);
    return `${day} ${MONTHS[month]}${year === thisYear ? "" : ` ${year}`} ${two(hour)}:${two(minute)}`;
  }

  /** Write every <time data-t> under root in the chosen zone. */
  function times(root = document) {
    for (const element of $$("time[data-t]", root)) {
      const date = new Date(element.dateTime);
      if (Number.isNaN(date.getTime())) continue;
      let text = element.dataset.t === "date" ? dateText(date) : hms(date);
      if (element.dataset.t === "full" && isUtc()) text += " UTC";
      if (element.textContent !== text) element.textContent = text;
    }
  }

  function showZone(zone) {
    html.dataset.tz = zone;
    const button = $("#tz");
    button.textContent = isUtc() ? "UTC" : "Local";
    button.setAttribute("aria-label", `${button.textContent}: zone of all times. Switch.`);
    times();
  }

  $("#tz").addEventListener("click", () => {
    const zone = isUtc() ? "local" : "utc";
    remember("tz", zone);
    showZone(zone);
    document.dispatchEvent(new Event("themechange")); // charts write their axes again
  });

  // ---- durations and countdowns; skew = the server's clock minus ours, in seconds
  const now = () => Date.now() / 1000 + window.mesh.skew;

  /** 42 s, 6 m 22 s, 1 h 04 m, 3 d 2 h. Never negative. */
  function dur(seconds) {
    const left = Math.max(0, Math.floor(seconds));
    const days = Math.floor(left / 86400);
    const hours = Math.floor((left % 86400) / 3600);
    const minutes = Math.floor((left % 3600) / 60);
    if (days) return `${days} d ${hours} h`;
    if (hours) return `${hours} h ${two(minutes)} m`;
    return minutes ? `${minutes} m ${two(left % 60)} s` : `${left} s`;
  }

  function tick() {
    const at = now();
    for (const element of $$("[data-since]")) element.textContent = dur(at - Number(element.dataset.since));
    for (const element of $$("[data-until]")) element.textContent = dur(Number(element.dataset.until) - at);
  }

  // ---- what the page says: to a screen reader, and in toasts
  function say(region, text) {
    region.textContent = "";
    // An equal text set twice is not spoken twice; a change in the next frame is.
    requestAnimationFrame(() => { region.textContent = text; });
  }

  function toast(text, kind = "info") {
    const made = $(`#toast-${kind === "error" ? "error" : "info"}`).content.cloneNode(true).firstElementChild;
    $("p", made).textContent = text;
    const shelf = $("#toasts");
    shelf.append(made);
    while (shelf.children.length > 3) shelf.firstElementChild.remove();
    if (kind !== "error") setTimeout(() => made.remove(), 8000);
  }

  document.addEventListener("click", (event) => {
    event.target.closest("[data-dismiss]")?.closest(".toast").remove();
    if (event.target.closest("[data-copy-link]")) copyLink();
    for (const menu of $$("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && event.target.closest?.("details.menu[open]");
    if (menu) {
      menu.open = false;
      $("summary", menu).focus();
    }
  });

  async function copyLink() {
    try {
      await navigator.clipboard.writeText(location.href);
      toast("Link to this page copied.");
    } catch {
      toast("The browser did not allow copying. Copy the address bar instead.", "error");
    }
  }

  let signedOutBar = null;

  /** Say once that the session has ended, with a way back; the page itself stays as it is. */
  function signedOut() {
    if (signedOutBar) return;
    const bar = document.createElement("div");
    signedOutBar = bar;
    bar.className = "bar warn";
    bar.setAttribute("role", "alert");
    const text = document.createElement("p");
    text.textContent = "You are signed out. What you see is no longer updated. ";
    const link = document.createElement("a");
    link.className = "btn sm";
    link.href = `${document.body.dataset.login}?next=${encodeURIComponent(location.pathname + location.search)}`;
    link.textContent = "Sign in again";
    bar.append(text, link);
    $("#main").prepend(bar);
    document.dispatchEvent(new Event("signedout"));
  }

  /** Take that back. */
  function signedIn() {
    signedOutBar?.remove();
    signedOutBar = null;
  }

  // ---- keys: single letters that open things and never act; off while typing and in dialogs
  let goPressedAt = -Infinity;
  const KEYS = { r: "r", p: "p", P: "Shift+P", f: "f" };

  function isTyping(event) {
    return event.target.closest?.("input, textarea, select, [contenteditable]") !== null;
  }

  function pressed(event) {
    if (html.dataset.keys === "off" || event.defaultPrevented || event.repeat) return;
    if (event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]") || isTyping(event)) return;
    const key = event.key;
    if (performance.now() - goPressedAt < 900) {
      goPressedAt = -Infinity;
      if (key === "s") location.assign(services);
      if (key === "r") location.assign(rollouts);
      return;
    }
    if (key === "g") goPressedAt = performance.now();
    else if (key === "?") $("#keys").showModal();
    else if (key === "c") copyLink();
    else if (key === "/") focusOn(event, $("[data-search]"));
    else if (KEYS[key]) clickOn(event, $(`[aria-keyshortcuts="${KEYS[key]}"]`));
  }

  function focusOn(event, element) {
    if (!element) return;
    event.preventDefault();
    element.focus();
  }

  function clickOn(event, element) {
    if (!element || element.getAttribute("aria-disabled") === "true") return;
    event.preventDefault();
    element.click();
  }

  document.addEventListener("keydown", pressed);
  $("#help").addEventListener("click", () => $("#keys").showModal());

  window.mesh = {
    $,
    $$,
    hms,
    dur,
    times,
    skew: 0,
    remember,
    signedOut,
    signedIn,
    toast,
    announce: (text) => say($("#announce"), text),
    alarm: (text) => say($("#alarm"), text),
  };

  showTheme(html.dataset.theme);
  showZone(html.dataset.tz);
  tick();
  setInterval(tick, 1000);
  document.addEventListener("htmx:after:swap", () => { times(); tick(); });
  document.addEventListener("htmx:before:response", (event) => {
    const raw = event.detail?.ctx?.response?.raw;
    // A fetch follows the redirect to the sign-in page; never show that page inside another one.
    if (raw && (raw.status === 401 || (raw.redirected && new URL(raw.url).pathname === document.body.dataset.login))) {
      event.preventDefault();
      signedOut();
    }
  });
})();
