// The map of a dictionary's features: points are written as pixels, so that 100,000 of them move smoothly.
"use strict";

(() => {
  const MOST_ZOOM = 400;
  // Share of the canvas that the arrow keys move by, and pixels within which a point is met.
  const STEP = 0.1, NEAR = 10;
  // Pixels that a pointer may move in a click.
  const CLICK = 4;
  const MARGIN = 0.04;
  // Cells of the index in each dimension, and shades of the scale.
  const CELLS = 256, SHADES = 64;
  const LOOK = 90;

  function decoded(text, Kind) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Kind(bytes.buffer);
  }

  const figure = (value) => (value === null ? "–" : Number(value.toPrecision(3)).toString());

  // A colour of the style sheet as red, green, blue.
  function channels(style, name) {
    const text = style.getPropertyValue(name).trim();
    const long = text.length === 4 ? [...text.slice(1)].map((digit) => digit + digit).join("") : text.slice(1);
    return [0, 2, 4].map((place) => parseInt(long.slice(place, place + 2), 16));
  }

  // A pixel as ImageData has it on little-endian machines.
  const pixel = ([red, green, blue]) => ((255 << 24) | (Math.round(blue) << 16) | (Math.round(green) << 8) | Math.round(red)) >>> 0;

  // The points, the strongest figures last, so that they are drawn over others; and their cells, for what is near a place.
  class Points {
    constructor(answer) {
      const columns = answer.points;
      this.features = decoded(columns.feature, Int32Array);
      this.x = decoded(columns.x, Float32Array);
      this.y = decoded(columns.y, Float32Array);
      this.shades = this.shadesOf(decoded(columns.value, Float32Array), answer);
      this.order = Uint32Array.from(this.features.keys()).sort((one, other) => this.shades[one] - this.shades[other]);
      this.place = new Map();
      this.features.forEach((feature, place) => this.place.set(feature, place));
      this.index();
    }

    get length() {
      return this.features.length;
    }

    // 0 without a figure, else 1 to SHADES.
    shadesOf(values, { low, high, by_decades: byDecades }) {
      const of = byDecades ? Math.log : (value) => value;
      const [from, span] = low === null ? [0, 0] : [of(low), of(high) - of(low)];
      return Uint8Array.from(values, (value) => {
        if (low === null || !Number.isFinite(value) || (byDecades && value <= 0)) return 0;
        const share = span > 0 ? (of(value) - from) / span : 1;
        return 1 + Math.min(SHADES - 1, Math.max(0, Math.floor(share * SHADES)));
      });
    }

    cell(x, y) {
      const along = Math.min(CELLS - 1, Math.max(0, Math.floor(x * CELLS)));
      return Math.min(CELLS - 1, Math.max(0, Math.floor(y * CELLS))) * CELLS + along;
    }

    index() {
      this.starts = new Uint32Array(CELLS * CELLS + 1);
      const cells = Uint32Array.from(this.x, (x, place) => this.cell(x, this.y[place]));
      for (const cell of cells) this.starts[cell + 1] += 1;
      for (let cell = 0; cell < CELLS * CELLS; cell += 1) this.starts[cell + 1] += this.starts[cell];
      const next = this.starts.slice(0, -1);
      this.members = new Uint32Array(this.length);
      cells.forEach((cell, place) => { this.members[next[cell]++] = place; });
    }

    // The nearest point within a distance, or -1.
    near(x, y, reach) {
      let [best, least] = [-1, reach * reach];
      const [left, right] = [x - reach, x + reach].map((edge) => Math.min(CELLS - 1, Math.max(0, Math.floor(edge * CELLS))));
      const [low, high] = [y - reach, y + reach].map((edge) => Math.min(CELLS - 1, Math.max(0, Math.floor(edge * CELLS))));
      for (let row = low; row <= high; row += 1) {
        const [start, stop] = [this.starts[row * CELLS + left], this.starts[row * CELLS + right + 1]];
        for (let member = start; member < stop; member += 1) {
          const place = this.members[member];
          const far = (this.x[place] - x) ** 2 + (this.y[place] - y) ** 2;
          if (far < least) [best, least] = [place, far];
        }
      }
      return best;
    }
  }

  class FeatureMap {
    constructor(box) {
      this.box = box;
      this.canvas = box.querySelector("canvas");
      this.tip = box.querySelector(".map-tip");
      this.section = box.closest("section");
      this.form = this.section.querySelector("[data-map-form]");
      this.said = this.section.querySelector("[data-map-said]");
      this.list = this.section.querySelector("[data-map-hits]");
      this.drawing = this.canvas.getContext("2d");
      this.points = null;
      this.hits = [];
      this.chosen = -1;
      this.tips = new Map();
      this.pointers = new Map();
      // The centre of what is shown, and how many times larger than the whole.
      [this.centre, this.zoom] = [[0.5, 0.5], 1];
      this.listen();
      this.paint();
      this.load().then(() => this.form.elements.q.value.trim() && this.search());
    }

    get path() {
      return `/dictionaries/${encodeURIComponent(this.box.dataset.dictionary)}`;
    }

    get run() {
      return this.box.dataset.run;
    }

    listen() {
      new ResizeObserver(() => this.fit()).observe(this.box);
      this.form.addEventListener("submit", (event) => { event.preventDefault(); this.search(); });
      this.form.elements.colour.addEventListener("change", () => this.load());
      this.form.addEventListener("click", (event) => {
        const { mapZoom } = event.target.dataset;
        if (mapZoom !== undefined) Number(mapZoom) ? this.zoomBy(Number(mapZoom)) : this.whole();
      });
      for (const [name, act] of [["pointerdown", "press"], ["pointermove", "move"], ["pointerup", "release"], ["pointercancel", "release"]]) {
        this.canvas.addEventListener(name, (event) => this[act](event));
      }
      this.canvas.addEventListener("pointerleave", () => this.choose(-1));
      this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
      this.canvas.addEventListener("keydown", (event) => this.key(event));
      this.list.addEventListener("focusin", (event) => this.showHit(Number(event.target.dataset.feature)));
      this.list.addEventListener("focusout", () => this.choose(-1));
      const repaint = () => { this.paint(); this.ask(); };
      document.addEventListener("glossator:theme", repaint);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
    }

    async fetched(query) {
      const params = new URLSearchParams(query);
      if (this.run) params.set("run", this.run);
      const response = await fetch(`/v1${this.path}/map?${params}`, { headers: { accept: "application/json" } });
      const answer = await response.json();
      if (!response.ok) throw new Error([answer.detail || answer.title, answer.why, answer.cure].filter(Boolean).join(" "));
      return answer;
    }

    async load() {
      const turn = (this.loading = (this.loading || 0) + 1);
      this.box.setAttribute("aria-busy", "true");
      try {
        const answer = await this.fetched({ colour: this.form.elements.colour.value });
        if (turn !== this.loading) return;
        this.points = new Points(answer);
        this.legend(answer);
        this.fit();
      } catch (error) {
        this.said.textContent = error.message;
      } finally {
        if (turn === this.loading) this.box.removeAttribute("aria-busy");
      }
    }

    legend({ low, high, by_decades: byDecades }) {
      this.section.querySelector("[data-map-low]").textContent = figure(low);
      this.section.querySelector("[data-map-high]").textContent = figure(high);
      this.section.querySelector("[data-map-scale]").textContent = byDecades ? "(logarithmic)" : "";
    }

    async search() {
      const [q, mode] = [this.form.elements.q.value.trim(), this.form.elements.mode.value];
      const turn = (this.searching = (this.searching || 0) + 1);
      try {
        const answer = q ? await this.fetched({ q, mode, points: "false" }) : { hits: [] };
        if (turn !== this.searching) return;
        this.hits = answer.hits;
        this.list.replaceChildren(...this.hits.map((hit) => this.item(hit)));
        const lit = this.hits.filter((hit) => this.points?.place.has(hit.index)).length;
        this.said.textContent = q ? `${lit === 1 ? "1 hit is" : `${lit} hits are`} lit. ${answer.without_meaning || ""}` : "";
        this.remember(q, mode);
        this.ask();
      } catch (error) {
        if (turn === this.searching) this.said.textContent = error.message;
      }
    }

    // The address is what is shown: a link lights the same.
    remember(q, mode) {
      const to = new URL(location.href);
      to.searchParams.delete("q");
      to.searchParams.delete("mode");
      if (q) {
        to.searchParams.set("q", q);
        to.searchParams.set("mode", mode);
      }
      history.replaceState(history.state, "", to);
    }

    item(hit) {
      const [line, link] = [document.createElement("li"), document.createElement("a")];
      link.href = this.address(hit.index);
      link.dataset.feature = hit.index;
      link.textContent = hit.name;
      line.append(link, ` ${hit.label || "no label"}`);
      return line;
    }

    // A feature's page; negative sides are the second half, `123-`.
    address(feature) {
      const half = Number(this.box.dataset.features) / 2;
      const index = this.box.dataset.sides === "2" && feature >= half ? `${feature - half}-` : `${feature}`;
      return `${this.path}/features/${index}${this.run ? `?run=${encodeURIComponent(this.run)}` : ""}`;
    }

    // Colours of the theme.
    paint() {
      const style = getComputedStyle(document.documentElement);
      const [low, high] = [channels(style, "--map-low"), channels(style, "--map-high")];
      this.colours = new Uint32Array(SHADES + 1);
      this.colours[0] = pixel(channels(style, "--map-none"));
      for (let shade = 1; shade <= SHADES; shade += 1) {
        const share = (shade - 1) / (SHADES - 1);
        this.colours[shade] = pixel(low.map((from, channel) => from + share * (high[channel] - from)));
      }
      [this.lit, this.ring] = [style.getPropertyValue("--null"), style.getPropertyValue("--text")];
    }

    fit() {
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      const [width, height] = [Math.round(this.box.clientWidth * ratio), Math.round(this.box.clientHeight * ratio)];
      if (!width || !height) return;
      if (this.canvas.width !== width || this.canvas.height !== height || !this.image) {
        [this.canvas.width, this.canvas.height, this.ratio] = [width, height, ratio];
        this.image = this.drawing.createImageData(width, height);
        this.pixels = new Uint32Array(this.image.data.buffer);
      }
      this.ask();
    }

    // Pixels of the canvas for the whole map's side.
    get scale() {
      return Math.min(this.canvas.width, this.canvas.height) * (1 - 2 * MARGIN) * this.zoom;
    }

    onCanvas(x, y) {
      const { scale } = this;
      return [this.canvas.width / 2 + (x - this.centre[0]) * scale, this.canvas.height / 2 - (y - this.centre[1]) * scale];
    }

    onMap(across, down) {
      const { scale } = this;
      return [this.centre[0] + (across - this.canvas.width / 2) / scale, this.centre[1] - (down - this.canvas.height / 2) / scale];
    }

    ask() {
      this.asked ??= requestAnimationFrame(() => { this.asked = undefined; this.draw(); });
    }

    draw() {
      if (!this.points || !this.image) return;
      const began = performance.now();
      this.pixels.fill(0);
      this.dots();
      this.drawing.putImageData(this.image, 0, 0);
      for (const hit of this.hits) this.mark(this.points.place.get(hit.index), 4, this.lit);
      this.mark(this.chosen, 7, null);
      performance.clearMeasures("glossator-map");
      performance.measure("glossator-map", { start: began, end: performance.now() });
    }

    dots() {
      const { points, pixels, colours, scale, image: { width, height } } = this;
      const { x, y, shades, order } = points;
      const [left, top] = [width / 2 - this.centre[0] * scale, height / 2 + this.centre[1] * scale];
      // Points without a figure are told by their size, not by their colour alone.
      const [full, small] = [this.size, Math.max(1, this.size >> 1)];
      for (let number = 0; number < order.length; number += 1) {
        const place = order[number];
        const size = shades[place] ? full : small;
        const [across, down] = [Math.round(left + x[place] * scale - size / 2), Math.round(top - y[place] * scale - size / 2)];
        if (across < 0 || down < 0 || across + size > width || down + size > height) continue;
        const colour = colours[shades[place]];
        for (let row = down * width + across, last = row + size * width; row < last; row += width) {
          for (let at = row; at < row + size; at += 1) pixels[at] = colour;
        }
      }
    }

    // The side of a point in pixels: smaller where there are many, larger when zoomed.
    get size() {
      const base = this.points.length > 30_000 ? 1.5 : this.points.length > 3_000 ? 2.5 : 5;
      return Math.max(1, Math.round(base * this.ratio * Math.min(4, Math.sqrt(this.zoom))));
    }

    mark(place, radius, colour) {
      if (place === undefined || place < 0) return;
      const [across, down] = this.onCanvas(this.points.x[place], this.points.y[place]);
      this.drawing.beginPath();
      this.drawing.arc(across, down, radius * this.ratio, 0, 2 * Math.PI);
      if (colour) {
        this.drawing.fillStyle = colour;
        this.drawing.fill();
      }
      this.drawing.strokeStyle = this.ring;
      this.drawing.lineWidth = (colour ? 1.5 : 2.5) * this.ratio;
      this.drawing.stroke();
    }

    at(event) {
      const box = this.canvas.getBoundingClientRect();
      return [(event.clientX - box.left) * this.ratio, (event.clientY - box.top) * this.ratio];
    }

    press(event) {
      if (event.button !== 0) return;
      this.canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, this.at(event));
      this.travelled = this.pointers.size > 1 ? Infinity : 0;
      this.canvas.classList.add("held");
    }

    move(event) {
      const before = this.pointers.get(event.pointerId);
      const now = this.at(event);
      if (!before) {
        this.hover(now);
        return;
      }
      const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      this.pointers.set(event.pointerId, now);
      this.travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
      if (others.length) {
        const far = (place) => Math.hypot(place[0] - others[0][0], place[1] - others[0][1]);
        this.zoomBy(far(now) / Math.max(far(before), 1), [(now[0] + others[0][0]) / 2, (now[1] + others[0][1]) / 2]);
      } else if (this.travelled > CLICK * this.ratio) {
        this.choose(-1);
        this.shift((before[0] - now[0]) / this.scale, (now[1] - before[1]) / this.scale);
      }
    }

    release(event) {
      if (!this.pointers.delete(event.pointerId)) return;
      if (!this.pointers.size) this.canvas.classList.remove("held");
      if (event.type === "pointerup" && this.travelled <= CLICK * this.ratio) this.open(this.under(this.at(event)));
    }

    wheel(event) {
      const before = this.zoom;
      this.zoomBy(Math.exp(-Math.max(-200, Math.min(200, event.deltaY)) / 300), this.at(event));
      // At its ends the wheel is the page's again.
      if (this.zoom !== before) event.preventDefault();
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = (STEP * Math.min(this.canvas.width, this.canvas.height)) / this.scale;
      const acts = {
        ArrowLeft: () => this.shift(-step, 0),
        ArrowRight: () => this.shift(step, 0),
        ArrowUp: () => this.shift(0, step),
        ArrowDown: () => this.shift(0, -step),
        "+": () => this.zoomBy(1.5),
        "=": () => this.zoomBy(1.5),
        "-": () => this.zoomBy(1 / 1.5),
        0: () => this.whole(),
        Escape: () => this.choose(-1),
      };
      if (!(event.key in acts)) return;
      event.preventDefault();
      acts[event.key]();
    }

    shift(across, up) {
      this.centre = [this.centre[0] + across, this.centre[1] + up].map((place) => Math.min(1, Math.max(0, place)));
      this.ask();
    }

    // The place under `at` stays where it is.
    zoomBy(factor, at = [this.canvas.width / 2, this.canvas.height / 2]) {
      const held = this.onMap(...at);
      this.zoom = Math.min(MOST_ZOOM, Math.max(1, this.zoom * factor));
      const moved = this.onMap(...at);
      this.shift(held[0] - moved[0], held[1] - moved[1]);
    }

    whole() {
      [this.centre, this.zoom] = [[0.5, 0.5], 1];
      this.ask();
    }

    under(at) {
      return this.points ? this.points.near(...this.onMap(...at), (NEAR * this.ratio) / this.scale) : -1;
    }

    hover(at) {
      const place = this.under(at);
      this.canvas.classList.toggle("at", place >= 0);
      if (place !== this.chosen) this.choose(place);
    }

    open(place) {
      if (place >= 0) location.assign(this.address(this.points.features[place]));
    }

    showHit(feature) {
      const place = this.points?.place.get(feature);
      if (place === undefined) return;
      const [across, down] = this.onCanvas(this.points.x[place], this.points.y[place]);
      const isSeen = across >= 0 && down >= 0 && across <= this.canvas.width && down <= this.canvas.height;
      if (!isSeen) this.centre = [this.points.x[place], this.points.y[place]];
      this.choose(place);
    }

    choose(place) {
      this.chosen = place;
      this.tip.hidden = true;
      clearTimeout(this.looking);
      if (place >= 0) this.looking = setTimeout(() => this.tell(place), LOOK);
      this.ask();
    }

    async tell(place) {
      const feature = this.points.features[place];
      if (!this.tips.has(feature)) {
        const run = this.run ? `?run=${encodeURIComponent(this.run)}` : "";
        const response = await fetch(`${this.path}/map/${feature}${run}`).catch(() => null);
        if (!response?.ok) return;
        this.tips.set(feature, await response.text());
      }
      if (this.chosen !== place) return;
      this.tip.innerHTML = this.tips.get(feature);
      this.tip.hidden = false;
      const [across, down] = this.onCanvas(this.points.x[place], this.points.y[place]).map((pixels) => pixels / this.ratio);
      const left = Math.min(across + 12, this.box.clientWidth - this.tip.offsetWidth - 4);
      const top = down + 12 + this.tip.offsetHeight > this.box.clientHeight ? down - 12 - this.tip.offsetHeight : down + 12;
      this.tip.style.transform = `translate(${Math.max(0, left)}px, ${Math.max(0, top)}px)`;
    }
  }

  document.addEventListener("htmx:afterSwap", (event) => {
    const box = event.target.querySelector("[data-map]");
    if (box) new FeatureMap(box);
  });
})();
