// The model at hand: texts and prompts of one's own, sent to the API of this server.
"use strict";

(() => {
  const LOOK = 1000;
  // Characters of a text that a note keeps.
  const NOTE = 3500;
  const WAITS = { open: "The model is at work.", closed: "A worker is opening the model.", "no-worker": "No gpu worker is there." };

  function make(name, text, ...classes) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    made.classList.add(...classes);
    return made;
  }

  const shown = (value) => Number(value.toPrecision(4)).toString();

  // As the server shades contexts: by the logarithm of the share of the strongest.
  function shade(value, strongest) {
    return Math.max(0.05, Math.log1p(9 * Math.min(value / strongest, 1)) / Math.log(10));
  }

  function marked(tokens, values, counted, strongest, level) {
    const line = make("div", undefined, "text");
    const peak = Math.max(...values, 0);
    tokens.forEach((token, place) => {
      const fires = values[place] > level;
      const part = make(fires ? "mark" : "span", token);
      part.title = shown(values[place]);
      if (fires) part.style.setProperty("--shade", shade(values[place], strongest || peak));
      if (fires && values[place] === peak) part.classList.add("peak");
      if (!counted[place]) part.classList.add("out");
      line.append(part);
    });
    return line;
  }

  function link(dictionary, name) {
    const index = name.slice(name.lastIndexOf(":") + 1);
    const made = make("a", index);
    made.href = `/dictionaries/${encodeURIComponent(dictionary)}/features/${index}`;
    return made;
  }

  function table(title, heads, rows) {
    const region = make("div", undefined, "wide");
    const found = make("table");
    found.append(make("caption", title));
    region.setAttribute("role", "region");
    region.setAttribute("aria-label", title);
    region.tabIndex = 0;
    const head = found.createTHead().insertRow();
    for (const [name, isNumber] of heads) {
      const cell = make("th", name);
      cell.scope = "col";
      if (isNumber) cell.classList.add("number");
      head.append(cell);
    }
    const body = found.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      row.forEach((content, place) => {
        const cell = line.insertCell();
        cell.append(content);
        if (heads[place][1]) cell.classList.add("number");
      });
    }
    region.append(found);
    return region;
  }

  class Try {
    constructor(section) {
      this.section = section;
      this.form = section.querySelector("[data-try-form]");
      this.answer = section.querySelector("[data-try-answer]");
      this.problem = section.querySelector("[data-try-problem]");
      this.progress = section.querySelector("[data-try-progress]");
      this.cancel = section.querySelector("[data-try-cancel]");
      this.steering = section.querySelector("[data-steer-form]");
      this.form.addEventListener("submit", (event) => this.begin(event, () => this.read()));
      this.steering?.addEventListener("submit", (event) => this.begin(event, () => this.write()));
      this.cancel.addEventListener("click", () => this.abort?.abort());
    }

    get dictionary() {
      return this.section.dataset.dictionary || this.form.elements.dictionary.value;
    }

    get path() {
      return `/v1/dictionaries/${encodeURIComponent(this.dictionary)}`;
    }

    async begin(event, work) {
      event.preventDefault();
      if (!this.form.reportValidity()) return;
      this.abort?.abort();
      const abort = (this.abort = new AbortController());
      this.problem.replaceChildren();
      this.cancel.hidden = false;
      this.section.setAttribute("aria-busy", "true");
      this.progress.textContent = "Asking…";
      const looking = setInterval(() => this.look(abort), LOOK);
      try {
        await work();
        this.progress.textContent = "";
      } catch (error) {
        if (this.abort !== abort) return;
        this.progress.textContent = abort.signal.aborted ? "Cancelled." : "";
        if (!abort.signal.aborted) this.problem.append(make("p", error.message, "wrong"));
      } finally {
        clearInterval(looking);
        if (this.abort === abort) {
          this.cancel.hidden = true;
          this.section.removeAttribute("aria-busy");
        }
      }
    }

    // What the answer waits for.
    async look(abort) {
      const run = this.section.dataset.run ? `?run=${encodeURIComponent(this.section.dataset.run)}` : "";
      const response = await fetch(`${this.path}/live${run}`, { signal: abort.signal }).catch(() => null);
      if (!response?.ok || abort.signal.aborted) return;
      this.progress.textContent = WAITS[(await response.json()).state] || "";
    }

    async post(operation, body) {
      if (this.section.dataset.run) body.run = this.section.dataset.run;
      return this.send(`${this.path}/${operation}`, body);
    }

    async send(address, body) {
      const headers = { "content-type": "application/json", ...JSON.parse(document.body.getAttribute("hx-headers") || "{}") };
      const sent = { method: "POST", headers, body: JSON.stringify(body), signal: this.abort.signal };
      const response = await fetch(address, sent);
      const answer = await response.json();
      if (!response.ok) throw new Error([answer.detail || answer.title, answer.why, answer.cure].filter(Boolean).join(" "));
      return answer;
    }

    async read(features) {
      const { index } = this.section.dataset;
      const against = this.form.elements.against.value;
      const wanted = features || (index ? [index] : []);
      const found = await this.post("activations", {
        texts: [this.form.elements.text.value],
        against: against ? [against] : [],
        features: wanted,
        top_k: 10,
        per_token: 3,
      });
      this.answer.replaceChildren(...this.shown(found, against !== ""));
      say(`${found.top.length} features shown.`);
    }

    shown(found, isCompared) {
      const [text] = found.texts;
      const parts = [];
      found.features.forEach((feature, place) => {
        const { activations, name } = text.features[place];
        const peak = Math.max(...activations, 0);
        parts.push(make("h3", `${name}: ${feature.label || "no label"}`));
        parts.push(make("p", peak > feature.firing_level ? `Largest activation ${shown(peak)}.` : "It does not fire on this text.", "faint"));
        parts.push(marked(text.tokens, activations, text.counted, feature.max_activation, feature.firing_level || 0));
      });
      if (found.features.length === 1 && this.section.dataset.index && this.section.dataset.notes) parts.push(this.noteButton(text));
      if (!found.features.length) parts.push(marked(text.tokens, text.tokens.map(() => 0), text.counted, 1, 0));
      if (!found.exact) parts.push(make("p", "Values may differ from collection's in the last bits.", "faint"));
      parts.push(this.ranking("Strongest features", found.top, found));
      if (isCompared) parts.push(this.ranking("More on the first text than on the second", found.differences, found));
      parts.push(this.byToken(text, found.dictionary));
      return parts;
    }

    ranking(title, rows, found) {
      if (!rows.length) return make("p", `${title}: none.`, "faint");
      const heads = [["Feature"], ["Label"], ["Activation", true], ["Of its largest", true], ["At"], ["Where"]];
      return table(title, heads, rows.map((one) => {
        const show = make("button", "show");
        show.type = "button";
        show.setAttribute("aria-label", `Show where ${one.name} fires`);
        show.addEventListener("click", (event) => this.begin(event, () => this.read([one.name.slice(one.name.lastIndexOf(":") + 1)])));
        const share = one.max_activation ? `${Math.round((100 * one.value) / one.max_activation)}%` : "–";
        const token = found.texts[one.text].tokens[one.token] || "";
        return [link(found.dictionary, one.name), one.label || "–", shown(one.value), share, make("code", token), show];
      }));
    }

    byToken(text, dictionary) {
      const details = make("details");
      details.append(make("summary", "Strongest features at each token"));
      const rows = text.tokens.map((token, place) => {
        const cell = make("span");
        text.per_token[place].forEach((one, number) => cell.append(number ? ", " : "", link(dictionary, one.name), ` (${shown(one.activation)})`));
        return [make("code", token), text.counted[place] ? cell : make("span", "does not count", "faint")];
      });
      details.append(table("Strongest features at each token", [["Token"], ["Features"]], rows));
      return details;
    }

    // The text and how strongly the feature fires on it, kept as a note of the feature.
    noteButton(text) {
      const [{ activations }] = text.features;
      const peak = Math.max(...activations, 0);
      const written = this.form.elements.text.value;
      const keep = make("button", "Keep this text as a note");
      keep.type = "button";
      keep.addEventListener("click", (event) => this.begin(event, async () => {
        const cut = written.length > NOTE ? `${[...written].slice(0, NOTE).join("")}…` : written;
        const where = peak > 0 ? ` at ${JSON.stringify(text.tokens[activations.indexOf(peak)])}` : "";
        await this.send(this.section.dataset.notes, { verdict: "comment", comment: `Largest activation ${shown(peak)}${where} on the text:\n${cut}` });
        keep.disabled = true;
        keep.textContent = "Kept as a note";
        document.dispatchEvent(new Event("reviewed"));
      }));
      const line = make("p", undefined, "line");
      line.append(keep);
      return line;
    }

    async write() {
      const fields = this.steering.elements;
      const found = await this.post("steer", {
        feature: this.section.dataset.index,
        prompt: this.form.elements.text.value,
        strength: Number(fields.strength.value),
        max_new_tokens: Number(fields.tokens.value),
        temperature: Number(fields.temperature.value),
        seeds: [Number(fields.seed.value)],
      });
      const pair = make("div", undefined, "pair");
      for (const [name, title] of [["plain", "Without the feature"], ["steered", `With the feature, ${shown(found.strength)} added`]]) {
        const part = make("div");
        const line = make("div", undefined, "text");
        line.append(make("span", found.prompt.join(""), "out"), make("span", found.continuations[0][name].text, "new"));
        part.append(make("h3", title), line);
        pair.append(part);
      }
      this.answer.replaceChildren(pair);
      say("Both texts are written.");
    }
  }

  for (const section of document.querySelectorAll("[data-try]")) if (section.querySelector("[data-try-form]")) new Try(section);
})();
