// One stream for all tabs of a browser: browsers allow six connections to a host, tabs must not eat them.
// Runs as a SharedWorker (live.js starts it); where there is none, live.js loads it as a plain script
// and uses MeshStream in the page. Tabs are told events and the state of the connection, nothing else.
"use strict";

(() => {
  const SILENT_MS = 6000; // the server beats once a second; a half-open connection looks alive for ever
  const TAB_GONE_MS = 120000; // tabs speak every 5 s; a browser lets hidden ones speak once a minute
  const SOON_MS = 50;

  /** Keeps a stream of `topics` open. tell(message) gets {kind: "event"|"state", ...}. */
  class MeshStream {
    constructor(tell) {
      this.tell = tell;
      this.topics = "";
      this.last = "";
      this.failures = 0;
      this.heardAt = 0;
      this.run = 0; // a newer run makes older ones end
      this.state = "connecting";
      this.watch = setInterval(() => this.check(), 1000);
    }

    want(url, topics) {
      const joined = [...topics].sort().join(",");
      if (joined === this.topics) return;
      if (this.state === "signed-out") this.state = "connecting"; // somebody may have signed in again
      this.url = url;
      this.topics = joined;
      this.restart(SOON_MS);
    }

    /** Try again now, unless it is fine. */
    kick() {
      if (this.state !== "live") {
        this.failures = 0;
        this.restart(0);
      }
    }

    /** Nobody listens any more; want() starts again. */
    stop() {
      this.run += 1;
      this.abort?.abort();
      clearTimeout(this.timer);
      this.topics = "";
      this.heardAt = 0;
      this.state = "connecting";
    }

    restart(delay) {
      this.run += 1;
      this.abort?.abort();
      clearTimeout(this.timer);
      if (this.topics) this.timer = setTimeout(() => this.connect(this.run), delay);
    }

    check() {
      if (this.topics && this.heardAt && Date.now() - this.heardAt > SILENT_MS) {
        this.heardAt = Date.now(); // give the next try the same time
        this.lost();
      }
    }

    lost() {
      this.say("reconnecting");
      this.failures += 1;
      this.restart(Math.min(5000, 1000 * this.failures));
    }

    say(state, sentence = "") {
      this.state = state;
      this.tell({ kind: "state", state, sentence });
    }

    async connect(run) {
      this.abort = new AbortController();
      this.heardAt = Date.now();
      const headers = this.last ? { "Last-Event-ID": this.last } : {};
      try {
        const response = await fetch(`${this.url}?topics=${encodeURIComponent(this.topics)}`, {
          headers, signal: this.abort.signal, cache: "no-store", credentials: "same-origin",
        });
        if (run !== this.run) return;
        if (!response.ok) return this.refused(response);
        await this.read(response.body.getReader(), run);
      } catch { /* the connection broke or was given up: below */ }
      if (run === this.run) this.lost();
    }

    async refused(response) {
      if (response.status === 401 || response.status === 403) return this.signedOut();
      const sentence = response.status < 500 ? await response.text() : "";
      this.say("reconnecting", sentence);
      this.failures = Math.max(this.failures, 4); // asking again at once will not help
      return this.restart(5000);
    }

    signedOut() {
      this.run += 1;
      this.abort?.abort();
      this.heardAt = 0;
      this.topics = ""; // no endless retry: the next page of a signed-in person starts anew
      this.say("signed-out");
    }

    async read(reader, run) {
      const decoder = new TextDecoder();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done || run !== this.run) return;
        this.heardAt = Date.now();
        rest += decoder.decode(value, { stream: true });
        const blocks = rest.split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) this.event(block);
      }
    }

    event(block) {
      let name = "";
      let data = "";
      let id = "";
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) name = line.slice(7);
        else if (line.startsWith("data: ")) data += line.slice(6);
        else if (line.startsWith("id: ")) id = line.slice(4);
      }
      if (!name) return;
      if (name === "out") return this.signedOut();
      if (id) this.last = id;
      if (name === "beat" && this.state !== "live") {
        this.failures = 0;
        this.say("live");
      }
      this.tell({ kind: "event", name, data: JSON.parse(data) });
      return undefined;
    }
  }

  self.MeshStream = MeshStream;
  if (typeof SharedWorkerGlobalScope === "undefined" || !(self instanceof SharedWorkerGlobalScope)) return;

  // ---- the worker: tabs come and go
  const tabs = new Map(); // port -> { topics, url, seenAt }
  const known = new Map(); // topic -> its last "changed": for tabs that join later
  const stream = new MeshStream(tell);

  function tell(message) {
    const topic = message.data?.topic;
    if (message.name === "changed") known.set(topic, message);
    for (const [port, tab] of tabs) {
      if (!topic || tab.topics.includes(topic)) port.postMessage(message);
    }
  }

  function update() {
    const union = new Set();
    let url = "";
    for (const tab of tabs.values()) {
      for (const topic of tab.topics) union.add(topic);
      url = tab.url;
    }
    for (const topic of known.keys()) if (!union.has(topic)) known.delete(topic);
    if (union.size) stream.want(url, [...union].slice(0, 20));
    else stream.stop();
  }

  function heard(port, message) {
    if (message.kind === "bye") {
      tabs.delete(port);
      return update();
    }
    const tab = tabs.get(port);
    if (tab) tab.seenAt = Date.now();
    if (message.kind === "kick") return stream.kick();
    if (message.kind === "out") return stream.signedOut();
    if (message.kind !== "want") return undefined;
    tabs.set(port, { topics: message.topics, url: message.url, seenAt: Date.now() });
    for (const topic of message.topics) if (known.has(topic)) port.postMessage(known.get(topic));
    update();
    return port.postMessage({ kind: "state", state: stream.state, sentence: "" });
  }

  self.onconnect = (event) => {
    const port = event.ports[0];
    port.onmessage = (got) => heard(port, got.data);
  };
  setInterval(() => {
    const old = [...tabs].filter(([, tab]) => Date.now() - tab.seenAt > TAB_GONE_MS);
    for (const [port] of old) tabs.delete(port);
    if (old.length) update();
  }, 5000);
})();
