"use strict";
// A chart is plotted when it comes near the window (or onto paper): a batch has hundreds of them.
let data = { specs: {} };

function rowsOf(element) {
  const { rows, key, panel } = element.dataset;
  const found = (data[rows] || {})[key] || [];
  if (!panel) return found;
  if (!found[panel]) return [];
  return found.attempt.map((attempt, i) => ({ attempt, [panel]: found[panel][i] })).filter((row) => row[panel] !== null);
}

function plot(element) {
  watcher.unobserve(element);
  if (element.plotted) return;
  const rows = rowsOf(element);
  element.hidden = !rows.length;
  if (!rows.length) return;
  element.dataset.plotted = "true";
  const spec = { ...data.specs[element.dataset.spec], datasets: { rows } };
  // Expressions are interpreted, not compiled: a page that shows what a model wrote need not allow `eval`.
  element.plotted = vegaEmbed(element, spec, { renderer: "svg", actions: false, defaultStyle: false, ast: true });
}

const watcher = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => plot(entry.target)),
  { rootMargin: "300px" },
);

// Shows `fresh` in the charts there are: those that are plotted already keep their place and get new rows.
async function showCharts(fresh) {
  const again = JSON.stringify(fresh.specs) !== JSON.stringify(data.specs);
  data = fresh;
  for (const element of document.querySelectorAll(".chart")) {
    if (again) delete element.plotted;
    if (element.plotted) {
      const { view } = await element.plotted;
      await view.data("rows", rowsOf(element)).runAsync();
    } else {
      element.hidden = false;
      watcher.unobserve(element);
      watcher.observe(element);
    }
  }
}

// The small charts share one legend.
function showLegend(element) {
  const { domain, range } = data.specs.question.encoding.color.scale;
  element.innerHTML = domain.map((_, i) => `<span><i style="background:${range[i]}"></i></span>`).join("");
  element.querySelectorAll("span").forEach((span, i) => span.append(domain[i]));
}
