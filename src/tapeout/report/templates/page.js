"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const config = () => {
    const ink = css("--ink"), soft = css("--soft"), grid = css("--grid");
    return {
      background: "transparent",
      font: css("--sans"),
      view: { stroke: null },
      axis: {
        labelColor: soft, titleColor: soft, gridColor: grid, domainColor: grid, tickColor: grid,
        labelFontSize: 12, titleFontSize: 12, titleFontWeight: 400, titlePadding: 8, labelPadding: 5,
      },
      axisY: { titleAnchor: "end" },
      text: { color: ink, fill: ink },
      tick: { color: ink },
      rule: { color: ink },
    };
  };
  const specs = new Map();
  for (const node of document.querySelectorAll('script[type="application/json"]')) {
    specs.set(node.id.slice("spec-".length), JSON.parse(node.textContent));
  }
  const draw = async (node) => {
    const spec = structuredClone(specs.get(node.dataset.chart));
    spec.config = config();
    try {
      const made = await vegaEmbed(node, spec, { actions: false, renderer: "svg" });
      node.style.minHeight = "";
      node.dataset.drawn = "yes";
      return made;
    } catch (error) {
      node.textContent = node.getAttribute("aria-label");
      node.dataset.drawn = "no";
      console.error(error);
      return null;
    }
  };
  const visible = (node) => node.offsetParent !== null;
  const drawAll = async (again) => {
    for (const node of document.querySelectorAll(".chart")) {
      if (visible(node) && (again || !node.dataset.drawn)) await draw(node);
    }
    document.documentElement.dataset.charts = "ready";
  };
  for (const node of document.querySelectorAll("details")) {
    node.addEventListener("toggle", () => { if (node.open) drawAll(false); });
  }
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(true));
  window.addEventListener("beforeprint", () => {
    for (const node of document.querySelectorAll("details")) node.open = true;
  });

  const quoted = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  for (const node of document.querySelectorAll("button.csv")) {
    node.addEventListener("click", () => {
      const rows = Object.values(specs.get(node.dataset.csv).datasets)[0];
      const names = Object.keys(rows[0]);
      const lines = [names, ...rows.map((row) => names.map((name) => row[name]))];
      const text = lines.map((line) => line.map(quoted).join(",")).join("\n");
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
      link.download = `${node.dataset.csv}.csv`;
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }

  const search = document.getElementById("ledger-search");
  if (search) {
    const status = document.getElementById("ledger-status");
    const count = document.getElementById("ledger-count");
    const rows = [...document.querySelectorAll(".ledger tbody tr")];
    const groups = [...document.querySelectorAll(".ledger details.group")];
    const filter = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = status.value ? `.badge-${status.value}` : "";
      let shown = 0;
      for (const row of rows) {
        const fits = words.every((word) => row.dataset.search.includes(word))
          && (!wanted || row.querySelector(wanted) !== null);
        row.hidden = !fits;
        shown += fits;
      }
      const filtering = words.length > 0 || wanted !== "";
      for (const group of groups) {
        group.hidden = !group.querySelector("tbody tr:not([hidden])");
        group.open = filtering && !group.hidden;
      }
      count.textContent = `${shown} of ${rows.length} shown`;
    };
    search.addEventListener("input", filter);
    status.addEventListener("change", filter);
  }
  drawAll(false);
})();
