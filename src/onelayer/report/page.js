"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const darkPreferred = matchMedia("(prefers-color-scheme: dark)");
  const views = new Map();
  const hiddenKeys = new Map();

  /* The reading mode. A page opened from disk may be refused its storage; it then forgets. */
  const storage = {
    get() { try { return localStorage.getItem("onelayer-theme"); } catch { return null; } },
    set(value) { try { localStorage.setItem("onelayer-theme", value); } catch { /* forgets */ } },
  };
  const mode = () => root.dataset.theme || (darkPreferred.matches ? "dark" : "light");
  const toggle = document.getElementById("theme");
  const showMode = () => toggle.setAttribute("aria-pressed", String(mode() === "dark"));
  const remembered = storage.get();
  if (remembered === "dark" || remembered === "light") root.dataset.theme = remembered;
  showMode();
  toggle.addEventListener("click", () => {
    root.dataset.theme = mode() === "dark" ? "light" : "dark";
    storage.set(root.dataset.theme);
    showMode();
    drawAll();
  });
  darkPreferred.addEventListener("change", () => { showMode(); drawAll(); });

  /* The charts. Each drawing has a turn of its own, so that the page answers while it draws. */
  const setParameters = (spec, values) => {
    for (const parameter of spec.params || []) {
      if (parameter.name in values) parameter.value = values[parameter.name];
    }
    for (const layer of spec.layer || []) setParameters(layer, values);
  };
  /* Words near the pointer come as [labels, words]: as keys of an object some would mean more. */
  const formatTooltip = ([labels, words], sanitize) => {
    const cell = (name, text) => `<td class="${name}">${sanitize(text)}</td>`;
    const row = (label, i) => `<tr>${cell("key", label)}${cell("value", words[i])}</tr>`;
    return `<table>${labels.map(row).join("")}</table>`;
  };
  const draw = async (box, theme) => {
    const name = box.dataset.chart;
    const spec = structuredClone(data.charts[name]);
    const values = { ...data.params[theme] };
    if (hiddenKeys.has(name)) values.hidden = [...hiddenKeys.get(name)];
    setParameters(spec, values);
    const embedded = await vegaEmbed(box, spec, {
      mode: "vega-lite", actions: false, renderer: "svg", config: data.config[theme],
      tooltip: { theme: "custom", formatTooltip }, logLevel: 1,  /* errors; a curve that is hidden is no warning */
    });
    // The box has the description; the drawing's own labels would be read out a second time.
    box.querySelector("svg")?.setAttribute("aria-hidden", "true");
    views.get(name)?.finalize();
    views.set(name, embedded.view);
  };
  /* A chart in a closed fold has no width yet; it is drawn when the fold opens. */
  const folded = (box) => box.closest("details.fold:not([open])") !== null;
  const open = (fold) => {
    for (const box of fold.querySelectorAll("[data-chart]")) {
      if (!folded(box)) draw(box, mode());
    }
  };
  for (const fold of document.querySelectorAll("details.fold")) {
    fold.addEventListener("toggle", () => { if (fold.open) open(fold); });
  }
  const unfold = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    for (let fold = target && target.closest("details.fold"); fold;
      fold = fold.parentElement.closest("details.fold")) fold.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();
  let turn = 0;
  const drawAll = async () => {
    const mine = ++turn;
    const theme = mode();
    root.dataset.drawn = "no";
    for (const box of document.querySelectorAll("[data-chart]")) {
      if (folded(box)) continue;
      await draw(box, theme);
      await new Promise((next) => setTimeout(next));
      if (mine !== turn) return;
    }
    root.dataset.drawn = theme;
  };

  for (const legend of document.querySelectorAll(".legend")) {
    const names = legend.dataset.for.split(" ");
    const buttons = [...legend.querySelectorAll("[data-key]")];
    const pressed = (button) => button.getAttribute("aria-pressed") === "true";
    const hidden = () => buttons.filter((b) => !pressed(b)).map((b) => b.dataset.key);
    const keep = () => { for (const name of names) hiddenKeys.set(name, hidden()); };
    keep();
    const set = (button, on) => button.setAttribute("aria-pressed", String(on));
    for (const button of buttons) {
      button.addEventListener("click", () => {
        set(button, !pressed(button));
        // Whoever asks for single runs wants to see them.
        const all = buttons.find((b) => b.dataset.key === "runs");
        if (button.dataset.key.startsWith("run ") && all) set(all, true);
        keep();
        for (const name of names) views.get(name)?.signal("hidden", hidden()).runAsync();
      });
    }
  }
  for (const button of document.querySelectorAll("[data-reset]")) {
    button.addEventListener("click", () => {
      const box = document.getElementById(button.dataset.reset);
      draw(box, mode());
    });
  }

  /* The templates: a row of pictures for each setting, all under one slider. */
  const player = (box) => {
    const grid = data.grids[box.dataset.grid];
    const { labels, size: [width, height] } = grid;
    const slider = box.querySelector("input");
    let step = grid.start;
    let waiting = grid.rows.length;
    const rows = grid.rows.map((row, i) => {
      const place = box.querySelector(`[data-row="${i}"]`);
      const pictures = [...place.querySelectorAll("canvas")];
      const image = new Image();
      const show = () => {
        pictures.forEach((canvas, k) => {
          canvas.getContext("2d").drawImage(
            image, k * width, row.frames[step] * height, width, height, 0, 0, width, height);
        });
        place.querySelector(".reading").textContent = row.readings[step];
      };
      image.onload = () => { show(); if (--waiting === 0) box.dataset.drawn = "yes"; };
      image.src = row.uri;
      return show;
    });
    if (!slider) return;
    const go = (next) => {
      step = next;
      rows.forEach((show) => show());
      slider.value = step;
      slider.setAttribute("aria-valuetext", labels[step]);
      box.querySelector(".step").textContent = labels[step];
    };
    const button = box.querySelector(".play");
    let timer = 0;
    const stop = () => { clearInterval(timer); timer = 0; button.textContent = "▶"; };
    slider.addEventListener("input", () => { stop(); go(Number(slider.value)); });
    button.addEventListener("click", () => {
      if (timer) { stop(); return; }
      if (step === labels.length - 1) go(0);
      button.textContent = "❚❚";
      timer = setInterval(() => {
        if (step >= labels.length - 1) stop(); else go(step + 1);
      }, 180);
    });
  };
  document.querySelectorAll("[data-grid]").forEach(player);
  drawAll();
})();
