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
  const draw = async (box, theme) => {
    const name = box.dataset.chart;
    const spec = structuredClone(data.charts[name]);
    const values = { ...data.params[theme] };
    if (hiddenKeys.has(name)) values.hidden = [...hiddenKeys.get(name)];
    setParameters(spec, values);
    const embedded = await vegaEmbed(box, spec, {
      mode: "vega-lite", actions: false, renderer: "svg", config: data.config[theme],
      tooltip: { theme: "custom" }, logLevel: 1,  /* errors; a curve that is hidden is no warning */
    });
    // The box has the description; the drawing's own labels would be read out a second time.
    box.querySelector("svg")?.setAttribute("aria-hidden", "true");
    views.get(name)?.finalize();
    views.set(name, embedded.view);
  };
  let turn = 0;
  const drawAll = async () => {
    const mine = ++turn;
    const theme = mode();
    root.dataset.drawn = "no";
    for (const box of document.querySelectorAll("[data-chart]")) {
      await draw(box, theme);
      await new Promise((next) => setTimeout(next));
      if (mine !== turn) return;
    }
    root.dataset.drawn = theme;
  };

  for (const legend of document.querySelectorAll(".legend")) {
    const name = legend.dataset.for;
    const buttons = [...legend.querySelectorAll("[data-key]")];
    const pressed = (button) => button.getAttribute("aria-pressed") === "true";
    const hidden = () => buttons.filter((b) => !pressed(b)).map((b) => b.dataset.key);
    hiddenKeys.set(name, hidden());
    const set = (button, on) => button.setAttribute("aria-pressed", String(on));
    for (const button of buttons) {
      button.addEventListener("click", () => {
        set(button, !pressed(button));
        // Whoever asks for single runs wants to see them.
        const all = buttons.find((b) => b.dataset.key === "runs");
        if (button.dataset.key.startsWith("run ") && all) set(all, true);
        hiddenKeys.set(name, hidden());
        views.get(name)?.signal("hidden", hidden()).runAsync();
      });
    }
  }
  for (const button of document.querySelectorAll("[data-reset]")) {
    button.addEventListener("click", () => {
      const box = document.getElementById(button.dataset.reset);
      draw(box, mode());
    });
  }

  /* The templates: one sheet a setting, a row of pictures for each epoch or λ. */
  const player = (box) => {
    const sheet = data.sheets[box.dataset.sheet];
    const pictures = [...box.querySelectorAll("canvas")];
    const slider = box.querySelector("input");
    const image = new Image();
    let frame = sheet.start;
    const show = (next) => {
      frame = next;
      pictures.forEach((canvas, k) => {
        const { width, height } = sheet;
        canvas.getContext("2d").drawImage(
          image, k * width, frame * height, width, height, 0, 0, width, height);
      });
      box.querySelector(".reading").textContent = sheet.readings[frame];
      if (slider) {
        slider.value = frame;
        slider.setAttribute("aria-valuetext", sheet.labels[frame]);
        box.querySelector(".epoch").textContent = sheet.labels[frame];
      }
    };
    image.onload = () => { show(frame); box.dataset.drawn = "yes"; };
    image.src = sheet.uri;
    if (!slider) return;
    const button = box.querySelector(".play");
    let timer = 0;
    const stop = () => { clearInterval(timer); timer = 0; button.textContent = "▶"; };
    slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
    button.addEventListener("click", () => {
      if (timer) { stop(); return; }
      if (frame === sheet.labels.length - 1) show(0);
      button.textContent = "❚❚";
      timer = setInterval(() => {
        if (frame >= sheet.labels.length - 1) stop(); else show(frame + 1);
      }, 180);
    });
  };
  document.querySelectorAll("[data-sheet]").forEach(player);
  drawAll();
})();
