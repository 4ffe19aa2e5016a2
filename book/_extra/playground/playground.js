/* The playground's interface: it keeps a digit and a mask, asks the model of mae.js, and shows what comes back.

   A page embeds it with one element and this script; everything else is loaded when the reader comes near:

       <div data-mae-playground="full">what readers without JavaScript see</div>      (or "small")
       <script defer src="../playground/playground.js"></script>
*/

"use strict";

(() => {
const N = 49, SIDE = 7, P = 4, SIZE = 28;
const CENTRE = 14.5; // where MNIST has a digit's centre of mass: the middle of the fifteenth pixel
const GREY = [0x9a, 0xa3, 0xaf], ORANGE = [0xd5, 0x5e, 0x00]; // the book's colours of what is hidden and predicted
const STAGES = { 0: "untrained", 1: "1 epoch", 10: "10 epochs", 100: "100 epochs", 320: "320 epochs" };
const NAMES = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "another 4", "another 8"];
const HERE = document.currentScript.src.replace(/[^/]*$/, "");

// ---------------------------------------------------------------------------------------------- loading on demand

const scripts = {};

/** Load a file of this folder once. */
function load(name) {
  return (scripts[name] ??= new Promise((resolve, reject) => {
    const css = name.endsWith(".css");
    const element = document.createElement(css ? "link" : "script");
    if (css) element.rel = "stylesheet";
    else element.charset = "utf-8"; // whatever the page around it has
    element[css ? "href" : "src"] = HERE + name;
    element.onload = resolve;
    element.onerror = () => reject(new Error(`${name} could not be loaded`));
    document.head.append(element);
  }));
}

const models = {};

/** The model at an epoch of its training, a promise. */
function model(epoch) {
  return (models[epoch] ??= Promise.all([load("mae.js"), load(`weights-${epoch}.js`)]).then(() =>
    mae.unpack(maeWeights[epoch])
  ));
}

/** Pictures stored as a byte a pixel. */
function decode(text) {
  const pixels = Float32Array.from(atob(text), (c) => c.charCodeAt(0) / 255);
  return Array.from({ length: pixels.length / SIZE ** 2 }, (_, i) => pixels.slice(i * SIZE ** 2, (i + 1) * SIZE ** 2));
}

// ---------------------------------------------------------------------------------------------------------- masks

/** Random numbers from 0 to 1 that a seed repeats (mulberry32). */
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffle(items, random) {
  const key = new Map(items.map((item) => [item, random()]));
  return items.sort((a, b) => key.get(a) - key.get(b));
}

/** In which order patches are hidden. A mask is the first of them, so a slider that moves adds to it or takes from it. */
const PATTERNS = {
  random: (random) => shuffle([...Array(N).keys()], random),

  /** Rectangles of two to four patches a side, one after the other, as in `block_mask`. */
  blocks(random) {
    const order = new Set(), draw = (low, high) => low + Math.floor(random() * (high - low + 1));
    while (order.size < N) {
      const height = draw(2, 4), width = draw(2, 4), top = draw(0, SIDE - height), left = draw(0, SIDE - width);
      for (let y = top; y < top + height; y++) for (let x = left; x < left + width; x++) order.add(y * SIDE + x);
    }
    return [...order];
  },

  /** All but one patch in each square of two by two, as in `grid_mask`; then the others. */
  grid(random) {
    const kept = (n) => n % SIDE % 2 === 0 && Math.floor(n / SIDE) % 2 === 0;
    const order = PATTERNS.random(random);
    return [...order.filter((n) => !kept(n)), ...order.filter(kept)];
  },
};

// -------------------------------------------------------------------------------------------------------- drawing

/** Ink from 0 to 1 of strokes, lists of points in pixels: full within the pen, soft over one pixel at its edge. */
function ink(strokes, pen = 1.25) {
  const image = new Float32Array(SIZE ** 2);
  for (const stroke of strokes)
    stroke.forEach(([x1, y1], i) => {
      const [x0, y0] = stroke[Math.max(0, i - 1)], length = (x1 - x0) ** 2 + (y1 - y0) ** 2;
      for (let n = 0; n < image.length; n++) {
        const x = (n % SIZE) + 0.5, y = Math.floor(n / SIZE) + 0.5;
        const along = length && Math.min(1, Math.max(0, ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length));
        const distance = Math.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0));
        image[n] = Math.max(image[n], Math.min(1, Math.max(0, pen + 0.5 - distance)));
      }
    });
  return image;
}

/** Size and place a drawing as MNIST's digits are: 20 pixels on the longer side, the centre of mass in the middle. */
function normalize(strokes) {
  const points = strokes.flat();
  if (!points.length) return ink([]);
  const sides = [0, 1].map((axis) => {
    const values = points.map((point) => point[axis]);
    return Math.max(...values) - Math.min(...values);
  });
  const scale = Math.min(4, 17.5 / Math.max(...sides, 0.1)); // and half a pen on either side
  const move = (x, y) => strokes.map((s) => s.map((p) => [p[0] * scale + x, p[1] * scale + y]));
  let shift = [0, 1].map((axis) => CENTRE - (points.reduce((sum, p) => sum + p[axis], 0) / points.length) * scale);
  for (let repeat = 0; repeat < 3; repeat++) {
    let mass = 0, x = 0, y = 0;
    ink(move(...shift)).forEach((value, n) => {
      mass += value;
      x += value * ((n % SIZE) + 0.5);
      y += value * (Math.floor(n / SIZE) + 0.5);
    });
    if (mass) shift = [shift[0] + CENTRE - x / mass, shift[1] + CENTRE - y / mass];
  }
  return ink(move(...shift));
}

// ------------------------------------------------------------------------------------------------- elements, paint

/** An element with properties, attributes (names with a dash, role, for) and children. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    /-|^role$|^for$/.test(name) ? element.setAttribute(name, value) : (element[name] = value);
  element.append(...children);
  return element;
}

const picture = (label) =>
  make("canvas", { width: SIZE, height: SIZE, role: "img", "aria-label": label, className: "picture" });

const patchOf = (n) => Math.floor(n / SIZE / P) * SIDE + Math.floor((n % SIZE) / P);
const place = (n) => `row ${Math.floor(n / SIDE) + 1}, column ${(n % SIDE) + 1}`;
const percent = (share) => `${Math.round(100 * share)} %`;

/** Put colours onto a canvas: `color(n)` is the grey, 0 to 1, or the [red, green, blue] of pixel n. */
function paint(canvas, color) {
  const context = canvas.getContext("2d"), data = context.createImageData(SIZE, SIZE);
  for (let n = 0; n < SIZE ** 2; n++) {
    const c = color(n);
    data.data.set(Array.isArray(c) ? [...c, 255] : [255 * c, 255 * c, 255 * c, 255], 4 * n);
  }
  context.putImageData(data, 0, 0);
}

let groups = 0;

/** Radio buttons in a fieldset: the browser brings the keys. `options` maps values to what stands on them. */
function radios(legend, options, chosen, onChange) {
  const name = `mae-playground-${++groups}`;
  const labels = Object.entries(options).map(([value, label]) => {
    const input = make("input", { type: "radio", name, value, checked: value === chosen });
    input.onchange = () => onChange(value);
    return make("label", {}, input, make("span", {}, ...[label].flat()));
  });
  return make("fieldset", {}, make("legend", {}, legend), make("div", { className: "options" }, ...labels));
}

function select(label, options, onChange) {
  const element = make("select", {}, ...Object.entries(options).map(([value, text]) => make("option", { value }, text)));
  element.onchange = () => onChange(element.value);
  return make("label", { className: "select" }, label, element);
}

function button(text, onClick) {
  return make("button", { type: "button", textContent: text, onclick: onClick });
}

// ----------------------------------------------------------------------------------------------------- a playground

class Playground {
  constructor(root, digits, mean) {
    this.root = root;
    this.full = root.dataset.maePlayground !== "small";
    this.digits = digits;
    this.mean = mae.patchify(mean);
    this.digit = 3;
    this.epoch = 320;
    this.loaded = {};
    this.pattern = "random";
    this.seed = 1;
    this.count = 37; // hidden patches: the first so many of this.order
    this.tool = "hide";
    this.brush = 1;
    this.layer = "decoder_blocks.1";
    this.head = "mean";
    this.asks = 24; // the patch whose attention is shown
    this.strokes = [];
    this.curve = new Map();
    this.order = PATTERNS.random(generator(this.seed));
    this.build();
    this.ready = model(this.epoch).then((loaded) => {
      this.loaded[this.epoch] = loaded;
      root.setAttribute("data-ready", "");
      this.update();
    });
  }

  get image() {
    return this.digit === "draw" ? (this.drawing ??= normalize(this.strokes)) : this.digits[this.digit];
  }

  hides(n) {
    return this.order.indexOf(n) < this.count;
  }

  // ------------------------------------------------------------------------------------------------- what it is made of

  build() {
    const thumbs = this.digits.slice(0, this.full ? 12 : 6).map((image, i) => {
      const canvas = make("canvas", { width: SIZE, height: SIZE, "aria-hidden": "true" });
      paint(canvas, (n) => image[n]);
      return [i, [canvas, make("span", { className: "unseen" }, NAMES[i])]];
    });
    const choices = Object.fromEntries(thumbs);
    if (this.full) choices.draw = "draw";
    const digit = radios("Digit", choices, "3", (value) => {
      this.digit = value === "draw" ? value : Number(value);
      if (this.full) this.pad.hidden = this.digit !== "draw";
      this.forget();
    });
    digit.classList.add("thumbs");

    this.sees = picture("What the model sees");
    this.rebuilds = picture("What it rebuilds");
    this.truth = picture("The truth");
    this.error = picture("Where it is wrong");
    const panel = (title, name, ...parts) =>
      make("figure", { className: `panel ${name}` }, make("figcaption", {}, title), ...parts);
    const panels = make(
      "div", { className: "panels" },
      panel("The model sees", "sees", make("div", { className: "board" }, this.sees, this.buildPatches())),
      panel("It rebuilds", "rebuilds", this.rebuilds)
    );
    if (this.full) panels.append(panel("The truth", "truth", this.truth), panel("Its error", "error", this.error));

    this.slider = make("input", { type: "range", min: 1, max: N - 1, value: this.count, step: 1 });
    this.slider.oninput = () => {
      this.stop();
      this.count = Number(this.slider.value);
      this.update();
    };
    this.shown = make("span", { className: "amount" });
    const share = make("label", { className: "slider" }, "Hidden", this.slider, this.shown);
    const redraw = button("New mask", () => this.draw(this.seed + 1));

    this.says = make("p", { className: "says", textContent: "The model is being loaded …" });
    this.aloud = make("p", { className: "unseen", role: "status", "aria-live": "polite" });

    if (!this.full) {
      this.root.replaceChildren(digit, panels, make("div", { className: "bar" }, share, redraw), this.says, this.aloud);
      return;
    }
    const pattern = radios("Pattern", { random: "random", blocks: "blocks", grid: "grid" }, "random", (value) => {
      this.pattern = value;
      if (value === "grid") this.count = 33;
      this.draw(this.seed);
    });
    this.play = button("Reveal one by one", () => (this.timer ? this.stop() : this.reveal()));
    this.root.replaceChildren(
      digit,
      this.buildPad(),
      panels,
      this.says,
      this.aloud,
      make("div", { className: "bar" }, share, redraw, this.play),
      make("div", { className: "bar" }, pattern, this.buildTools()),
      this.buildLook(),
      make("div", { className: "below" }, this.buildStages(), this.buildCurve())
    );
  }

  /** A button for each patch, over the picture: arrow keys move, space presses, a pointer paints. */
  buildPatches() {
    this.patches = Array.from({ length: N }, (_, n) => make("button", { type: "button", tabIndex: n ? -1 : 0 }));
    const board = make(
      "div",
      { className: "patches", role: "group", "aria-label": "Patches. Arrow keys move, space hides or reveals." },
      ...this.patches
    );
    const at = (event) => {
      const box = board.getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      return [x, y].some((v) => v < 0 || v >= 1) ? -1 : Math.floor(y * SIDE) * SIDE + Math.floor(x * SIDE);
    };
    let painting = null, byPointer = false;
    board.onpointerdown = (event) => {
      const n = at(event);
      if (n < 0 || event.button) return;
      byPointer = true;
      board.setPointerCapture(event.pointerId);
      painting = !this.hides(n);
      this.touch(n, painting);
    };
    board.onpointermove = (event) => {
      if (painting !== null && at(event) >= 0) this.touch(at(event), painting);
    };
    board.onpointerup = board.onpointercancel = () => (painting = null);
    board.onclick = (event) => {
      const n = this.patches.indexOf(event.target);
      if (!byPointer && n >= 0) this.touch(n, !this.hides(n)); // a key, or a screen reader
      byPointer = false;
    };
    board.onkeydown = (event) => {
      const n = this.patches.indexOf(event.target), row = Math.floor(n / SIDE), column = n % SIDE;
      const to = {
        ArrowLeft: column > 0 ? n - 1 : n,
        ArrowRight: column < SIDE - 1 ? n + 1 : n,
        ArrowUp: row > 0 ? n - SIDE : n,
        ArrowDown: row < SIDE - 1 ? n + SIDE : n,
        Home: row * SIDE,
        End: row * SIDE + SIDE - 1,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.focus(to);
    };
    return board;
  }

  focus(n) {
    this.patches.forEach((patch, i) => (patch.tabIndex = i === n ? 0 : -1));
    this.patches[n].focus({ preventScroll: true });
  }

  /** Strokes by pointer; by keyboard, arrow keys move a pen that space puts down and lifts. */
  buildPad() {
    const canvas = picture("Drawing pad. Arrow keys move the pen, space puts it down and lifts it.");
    canvas.tabIndex = 0;
    let stroke = null, pen = [14, 14];
    const show = () => {
      const image = ink(this.strokes);
      const marked = document.activeElement === canvas ? Math.floor(pen[1]) * SIZE + Math.floor(pen[0]) : -1;
      paint(canvas, (n) => (n === marked ? ORANGE : image[n]));
    };
    const point = (p) => {
      if (stroke) stroke.push(p);
      else this.strokes.push((stroke = [p]));
      pen = p;
      this.forget();
      show();
    };
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      const scaled = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      return scaled.map((v) => Math.min(SIZE - 0.01, Math.max(0, v * SIZE)));
    };
    canvas.onpointerdown = (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      stroke = null;
      point(at(event));
    };
    canvas.onpointermove = (event) => {
      if (stroke && canvas.hasPointerCapture(event.pointerId)) point(at(event));
    };
    canvas.onpointerup = canvas.onpointercancel = () => (stroke = null);
    canvas.onfocus = canvas.onblur = show;
    canvas.onkeydown = (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step && event.key !== " ") return;
      event.preventDefault();
      if (event.key === " ") {
        if (stroke) stroke = null;
        else point(pen);
      } else {
        const moved = pen.map((v, axis) => Math.min(SIZE - 0.5, Math.max(0.5, v + step[axis])));
        if (stroke) point(moved);
        else pen = moved;
      }
      show();
    };
    const clear = button("Clear", () => {
      this.strokes = [];
      stroke = null;
      this.forget();
      show();
    });
    show();
    this.pad = make(
      "div", { className: "pad", hidden: true }, canvas,
      make(
        "div", {},
        make("p", {}, "Draw a digit here. The model gets it sized and centred as its training digits were: 20 pixels on " +
          "the longer side, the centre of mass in the middle."),
        clear
      )
    );
    return this.pad;
  }

  buildTools() {
    const brush = select("Brush", { 1: "1 patch", 2: "2 × 2", 3: "3 × 3" }, (value) => (this.brush = Number(value)));
    const tools = radios("A click", { hide: "hides or reveals", look: "shows attention" }, "hide", (value) => {
      this.tool = value;
      brush.hidden = value !== "hide";
      this.look.hidden = value !== "look";
      this.update();
    });
    tools.querySelector(".options").append(brush);
    return tools;
  }

  buildLook() {
    const layers = {};
    for (let i = 0; i < 4; i++) layers[`blocks.${i}`] = `encoder, block ${i + 1}`;
    for (let i = 0; i < 2; i++) layers[`decoder_blocks.${i}`] = `decoder, block ${i + 1}`;
    const layer = select("Attention in", layers, (value) => {
      this.layer = value;
      this.update();
    });
    layer.querySelector("select").value = this.layer;
    const head = select("Head", { mean: "mean of four", h0: "1", h1: "2", h2: "3", h3: "4" }, (value) => {
      this.head = value;
      this.update();
    });
    this.looks = make("p", { className: "says" });
    this.look = make("div", { className: "look", hidden: true }, make("div", { className: "bar" }, layer, head), this.looks);
    return this.look;
  }

  buildStages() {
    this.stages = {};
    const options = {};
    for (const [epoch, name] of Object.entries(STAGES)) {
      const canvas = make("canvas", { width: SIZE, height: SIZE, className: "empty", "aria-hidden": "true" });
      this.stages[epoch] = { canvas, error: make("span", { className: "number" }, " ") };
      options[epoch] = [canvas, make("span", {}, name), this.stages[epoch].error];
    }
    const stages = radios("How long it has learned", options, "320", (value) => this.choose(Number(value)));
    stages.classList.add("stages");
    const all = button("Compare all five", async () => {
      all.disabled = true;
      for (const epoch of Object.keys(STAGES)) this.loaded[epoch] ??= await model(epoch);
      all.hidden = true;
      this.update();
    });
    stages.append(all);
    return stages;
  }

  buildCurve() {
    this.plot = make("div", { className: "curve" });
    return this.plot;
  }

  // -------------------------------------------------------------------------------------------------- what readers do

  /** Hide or reveal the patches under the brush; or choose the one whose attention is shown. */
  touch(n, hide) {
    this.stop();
    this.focus(n);
    if (this.tool === "look") {
      this.asks = n;
      this.update();
      return;
    }
    const row = Math.min(Math.floor(n / SIDE), SIDE - this.brush), column = Math.min(n % SIDE, SIDE - this.brush);
    for (let y = row; y < row + this.brush; y++)
      for (let x = column; x < column + this.brush; x++) {
        const patch = y * SIDE + x;
        if (this.hides(patch) === hide || this.count + (hide ? 1 : -1) < 1 || this.count + (hide ? 1 : -1) > N - 1) continue;
        this.order.splice(this.order.indexOf(patch), 1);
        if (!hide) this.count--;
        this.order.splice(this.count, 0, patch);
        if (hide) this.count++;
        this.curve.clear();
      }
    this.update();
  }

  draw(seed) {
    this.stop();
    this.seed = seed;
    this.order = PATTERNS[this.pattern](generator(seed));
    this.forget();
  }

  async choose(epoch) {
    this.epoch = epoch;
    this.curve.clear();
    if (!this.loaded[epoch]) this.says.textContent = "The model is being loaded …";
    this.loaded[epoch] ??= await model(epoch);
    this.update();
  }

  /** From one visible patch on, one more at a time. */
  reveal() {
    this.play.textContent = "Stop";
    this.count = N - 1;
    const next = () => {
      this.update();
      if (this.count === 1) return this.stop();
      this.timer = setTimeout(() => {
        this.count--;
        next();
      }, 150);
    };
    next();
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    if (this.play) this.play.textContent = "Reveal one by one";
  }

  /** Another picture or another order: what was computed holds no longer. */
  forget() {
    this.drawing = null;
    this.curve.clear();
    this.update();
  }

  // ------------------------------------------------------------------------------------------------- what they see

  update() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.show();
    });
  }

  /** One forward pass: the patches, and the mean squared error on the hidden ones, of the model and of the mean digit. */
  compute(model, patches) {
    const visible = [...Array(N).keys()].filter((n) => !this.hides(n));
    const begin = performance.now(), predicted = model.forward(patches, visible), time = performance.now() - begin;
    const error = (guess) => {
      let sum = 0;
      for (let i = 0; i < patches.length; i++) if (this.hides(Math.floor(i / P ** 2))) sum += (guess[i] - patches[i]) ** 2;
      return sum / this.count / P ** 2;
    };
    const rebuilt = predicted.map((value, i) => (this.hides(Math.floor(i / P ** 2)) ? value : patches[i]));
    return { image: mae.unpatchify(rebuilt), error: error(predicted), mean: error(this.mean), time };
  }

  show() {
    const image = this.image, hidden = Array.from({ length: N }, (_, n) => this.hides(n));
    paint(this.sees, (n) => (hidden[patchOf(n)] ? GREY : image[n]));
    this.patches.forEach((patch, n) => {
      patch.setAttribute("aria-pressed", hidden[n]);
      patch.setAttribute("aria-label", `${place(n)}, ${hidden[n] ? "hidden" : "visible"}`);
      patch.style.background = "";
      patch.className = "";
    });
    this.slider.value = this.count;
    this.shown.textContent = `${this.count} of ${N}, ${percent(this.count / N)}`;
    if (this.full) paint(this.truth, (n) => image[n]);
    const current = this.loaded[this.epoch];
    if (!current) return;

    const patches = mae.patchify(image), result = this.compute(current, patches);
    this.root.dataset.milliseconds = result.time.toFixed(1);
    paint(this.rebuilds, (n) => Math.min(1, Math.max(0, result.image[n])));
    this.say(result);
    if (!this.full) return;
    paint(this.error, (n) => ORANGE.map((c) => c * Math.min(1, 2 * Math.abs(result.image[n] - image[n]))));
    this.curve.set(N - this.count, result);
    this.showCurve();
    if (this.tool === "look") this.showAttention(current, hidden);
    this.showStage(this.epoch, result);
    clearTimeout(this.comparing); // the other stages wait until the reader does
    if (!this.timer) this.comparing = setTimeout(() => this.compare(patches), 150);
  }

  showStage(epoch, { image, error }) {
    this.stages[epoch].canvas.className = "";
    paint(this.stages[epoch].canvas, (n) => Math.min(1, Math.max(0, image[n])));
    this.stages[epoch].error.textContent = error.toFixed(4);
  }

  compare(patches) {
    for (const epoch of Object.keys(this.loaded))
      if (Number(epoch) !== this.epoch) this.showStage(epoch, this.compute(this.loaded[epoch], patches));
  }

  say({ error, mean }) {
    this.says.textContent =
      `The model sees ${N - this.count} of ${N} patches. Its mean squared error on the hidden ones is ` +
      `${error.toFixed(4)}; the mean digit's is ${mean.toFixed(4)}.`;
    clearTimeout(this.speaking); // a slider that moves is not read out at each step
    this.speaking = setTimeout(() => (this.aloud.textContent = this.says.textContent), 500);
  }

  /** Tint the patches that the chosen one attends to. */
  showAttention(current, hidden) {
    const inEncoder = this.layer.startsWith("blocks"), ask = this.patches[this.asks];
    ask.className = "asks";
    if (inEncoder && hidden[this.asks]) {
      this.looks.textContent = "The encoder never sees a hidden patch. Click a visible one, or look into the decoder.";
      return;
    }
    const places = [...Array(N).keys()].filter((n) => !inEncoder || !hidden[n]); // token 1 + t stands for places[t]
    const shares = current.attention[`${this.layer}.attn`], T = 1 + places.length;
    const heads = this.head === "mean" ? [0, 1, 2, 3] : [Number(this.head[1])];
    const row = 1 + places.indexOf(this.asks);
    const share = (t) => heads.reduce((sum, h) => sum + shares[(h * T + row) * T + t], 0) / heads.length;
    const most = places.reduce((best, n, t) => (share(1 + t) > share(1 + places.indexOf(best)) ? n : best), places[0]);
    const largest = share(1 + places.indexOf(most));
    places.forEach((n, t) => (this.patches[n].style.background = `rgb(0 114 178 / ${0.9 * (share(1 + t) / largest)})`));
    this.looks.textContent =
      `The patch in ${place(this.asks)} attends most to ${most === this.asks ? "itself" : place(most)} ` +
      `(${percent(largest)}), and to the class token with ${percent(share(0))}. The bluer, the more.`;
  }

  /** The error on what is still hidden, against the number of visible patches: points as far as they were shown. */
  showCurve() {
    const points = [...this.curve].sort((a, b) => a[0] - b[0]);
    const top = Math.max(0.12, ...points.flatMap(([, r]) => [r.error, r.mean]));
    const x = (visible) => 34 + (visible / N) * 280, y = (value) => 132 - (value / top) * 112;
    const line = (key) => points.map(([visible, r]) => `${x(visible).toFixed(1)},${y(r[key]).toFixed(1)}`).join(" ");
    const dots = (key) =>
      points.map(([visible, r]) => `<circle class="${key}" cx="${x(visible)}" cy="${y(r[key])}" r="1.8"/>`).join("");
    const [, now] = points.find(([visible]) => visible === N - this.count);
    const ticks = [0, 12, 24, 36, 48].map((v) => `<text x="${x(v)}" y="147" text-anchor="middle">${v}</text>`).join("");
    this.plot.innerHTML =
      `<svg viewBox="0 0 320 168" role="img" aria-label="Error on the hidden patches against the number of visible ones">` +
      `<text x="34" y="12">Error on what is still hidden</text>` +
      `<line class="axis" x1="34" y1="132" x2="314" y2="132"/><line class="axis" x1="34" y1="20" x2="34" y2="132"/>` +
      `<text x="30" y="135" text-anchor="end">0</text><text x="30" y="26" text-anchor="end">${top.toFixed(2)}</text>` +
      `${ticks}<text x="174" y="163" text-anchor="middle">visible patches</text>` +
      `<polyline class="mean" points="${line("mean")}"/><polyline class="error" points="${line("error")}"/>` +
      `${dots("mean")}${dots("error")}<circle class="now" cx="${x(N - this.count)}" cy="${y(now.error)}" r="4"/>` +
      `<circle class="mean" cx="252" cy="8" r="3"/><text x="259" y="12">mean digit</text>` +
      `<circle class="error" cx="252" cy="23" r="3"/><text x="259" y="27">the model</text></svg>`;
  }
}

/** Start a playground when the reader comes near, so that a page stays light for those who don't. */
async function start(root) {
  try {
    await Promise.all([load("playground.css"), load("mae.js"), load("digits.js")]);
    root.playground = new Playground(root, decode(maeDigits.images), decode(maeDigits.mean)[0]);
    await root.playground.ready;
  } catch (error) {
    root.append(make("p", { role: "alert" }, `The playground does not start: ${error.message}.`));
  }
}

const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries)
      if (isIntersecting) {
        near.unobserve(target);
        start(target);
      }
  },
  { rootMargin: "300px" }
);
const begin = () => document.querySelectorAll("[data-mae-playground]").forEach((root) => near.observe(root));
document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", begin) : begin();
})();
