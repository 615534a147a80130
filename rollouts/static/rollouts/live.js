// The page's end of the live stream: connects to the shared worker, watches the beat, tells the rest
// of the page by DOM events (mesh:changed, mesh:pt, mesh:fig, mesh:req, mesh:beat; detail = the JSON).
//
// Any element with data-topic makes the page subscribe. An element with data-topic and data-parts gets
// its HTML parts fetched again when the topic's revision is not the one they were made from.
"use strict";

(() => {
  const { $, $$, dur } = window.mesh;
  const script = document.currentScript;
  const topics = [...new Set($$("[data-topic]").map((element) => element.dataset.topic).filter(Boolean))];
  if (!topics.length) return;

  const own = $("#live");
  const url = own?.dataset.stream || script.dataset.stream || "/events/";
  const STALE_S = 4;
  const DOWN_S = 12;
  const HIDDEN_S = 60;
  const POLL_MS = 15000;
  let heardAt = Date.now();
  let signedOut = false;

  // ---- the pill in the top bar
  const WORDS = { live: "Live", connecting: "Connecting", stale: "Reconnecting", down: "Not live", out: "Signed out" };
  const pill = $("#conn") || makePill();

  function makePill() {
    const made = document.createElement("span");
    made.className = "live";
    made.id = "conn";
    made.dataset.s = "connecting";
    made.append(document.createElement("i"), document.createElement("span"));
    made.lastElementChild.textContent = WORDS.connecting;
    $("#tz").before(made);
    return made;
  }

  function show(state) {
    const before = pill.dataset.s;
    if (before === state) return;
    pill.dataset.s = state;
    pill.lastElementChild.textContent = WORDS[state];
    const old = state === "down" || state === "out";
    document.body.classList.toggle("stale", old);
    if ($("#stale")) $("#stale").hidden = state !== "down";
    if (state === "down") window.mesh.alarm("Connection lost. The page is not live.");
    if (state === "live" && before === "down") window.mesh.announce("Live again.");
  }

  function check() {
    if (signedOut) return;
    const silent = (Date.now() - heardAt) / 1000;
    if (silent > DOWN_S) {
      show("down");
      if ($("#stale-for")) $("#stale-for").textContent = dur(silent);
    } else if (silent > STALE_S) {
      show("stale");
    }
  }

  // ---- what comes in
  function got(message) {
    if (message.kind === "state") return stateIs(message.state);
    if (message.name === "beat") beat(message.data);
    if (message.name === "changed") changed(message.data);
    document.dispatchEvent(new CustomEvent(`mesh:${message.name}`, { detail: message.data }));
    return undefined;
  }

  function stateIs(state) {
    if (state === "signed-out") {
      signedOut = true;
      show("out");
      window.mesh.signedOut();
    } else if (state === "reconnecting" && !signedOut && pill.dataset.s === "live") {
      show("stale");
    }
  }

  function beat(data) {
    heardAt = Date.now();
    if (signedOut) { // only a session gets beats: somebody has signed in again, in another tab
      signedOut = false;
      window.mesh.signedIn();
    }
    window.mesh.skew = data.now - heardAt / 1000;
    show("live");
    for (const element of $$("[data-topic][data-parts]")) {
      const revision = data.topics[element.dataset.topic];
      if (revision && revision !== revisionOf(element)) refresh(element, revision);
    }
  }

  // ---- parts: asked for when the revision differs; one request at a time for each element
  const busy = new WeakSet();

  function revisionOf(element) {
    return element.dataset.asked || $("[data-revision]")?.dataset.revision || "";
  }

  async function refresh(element, revision) {
    if (busy.has(element) || document.hidden) return;
    busy.add(element);
    element.dataset.asked = revision;
    try {
      await window.htmx.ajax("GET", element.dataset.parts, { source: document.body, swap: "none" });
      document.dispatchEvent(new Event("mesh:refreshed"));
    } catch {
      element.dataset.asked = ""; // the next beat asks again
    } finally {
      busy.delete(element);
    }
  }

  // ---- title and favicon follow the page's own topic
  const ICONS = { progress: 1, queued: 1, paused: 2, waiting: 2, requested: 3, rolling: 3, stuck: 3, failed: 3, succeeded: 4, rolled_back: 5 };

  function changed(data) {
    if (!own || data.topic !== own.dataset.topic || !own.dataset.name) return;
    document.title = `${data.label} · ${own.dataset.name} · meshui`;
    const icons = (own.dataset.favicons || "").split(" ");
    $("#favicon").href = icons[ICONS[data.status] || 0] || $("#favicon").href;
    speak(data);
  }

  let spoken = "";
  function speak(data) {
    const words = `${own.dataset.name}: ${data.label}.`;
    if (spoken && spoken !== words) {
      const loud = ["rolling", "rolled_back", "stuck", "failed"].includes(data.status);
      (loud ? window.mesh.alarm : window.mesh.announce)(words);
    }
    spoken = words;
  }

  // ---- the connection: shared by all tabs, or our own
  let port = null;
  let stream = null;

  function share() {
    const worker = new SharedWorker(script.dataset.worker, { name: `meshui-${document.body.dataset.user}` });
    worker.onerror = alone;
    port = worker.port;
    port.onmessage = (event) => got(event.data);
    hello();
    setInterval(() => port.postMessage({ kind: "here" }), 5000);
    addEventListener("pagehide", () => port.postMessage({ kind: "bye" }));
    addEventListener("pageshow", (event) => { if (event.persisted) hello(); });
  }

  function hello() {
    port.postMessage({ kind: "want", topics, url });
  }

  function alone() {
    const code = document.createElement("script");
    code.src = script.dataset.worker;
    code.onload = () => {
      stream = new self.MeshStream(got);
      stream.want(url, topics);
    };
    document.head.append(code);
    document.addEventListener("visibilitychange", rest);
  }

  // Without a shared worker a hidden tab gives its connection back after a minute and polls.
  let hiddenTimer = 0;
  let poll = 0;

  function rest() {
    clearTimeout(hiddenTimer);
    clearInterval(poll);
    if (!document.hidden) {
      stream?.want(url, topics);
      return;
    }
    hiddenTimer = setTimeout(() => {
      stream?.stop();
      if (own?.dataset.status) poll = setInterval(ask, POLL_MS);
    }, HIDDEN_S * 1000);
  }

  async function ask() {
    const response = await fetch(own.dataset.status, { credentials: "same-origin" });
    if (response.ok && !response.redirected) changed(await response.json());
  }

  function kick() {
    if (port) port.postMessage({ kind: "kick" });
    else stream?.kick();
  }

  $("#reconnect")?.addEventListener("click", () => {
    $("#stale-for").textContent = "…";
    kick();
  });
  // Another script met the end of the session first: the stream and the other tabs must know.
  document.addEventListener("signedout", () => {
    if (signedOut) return;
    signedOut = true;
    show("out");
    if (port) port.postMessage({ kind: "out" });
    else stream?.signedOut();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && Date.now() - heardAt > 4000) kick(); });
  document.addEventListener("acted", () => {
    const element = $("[data-topic][data-parts]");
    if (element) refresh(element, "");
  });
  setInterval(check, 500);
  if (typeof SharedWorker === "function") share();
  else alone();
})();
