showCharts(JSON.parse(document.getElementById("data").textContent));

const closed = (element) => element.closest("details:not([open])");
const charts = [...document.querySelectorAll(".chart")];
window.addEventListener("beforeprint", () => charts.filter((element) => !closed(element)).forEach(plot));

// Tables sort by the column that is clicked: numbers by data-value, the rest as text; what has no value comes last.
function value(row, column) {
  const cell = row.cells[column];
  if (!("value" in cell.dataset)) return cell.textContent.trim();
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
}

function sort(head) {
  const ascending = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentNode.cells) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const body = head.closest("table").tBodies[0];
  const keyed = [...body.rows].map((row) => [value(row, head.cellIndex), row]);
  const sign = ascending ? 1 : -1;
  keyed.sort(([a], [b]) => (a === null || b === null ? compare(a, b) : sign * compare(a, b)));
  body.append(...keyed.map(([, row]) => row));
}

for (const head of document.querySelectorAll(".sortable thead th")) {
  head.querySelector("button").addEventListener("click", () => sort(head));
}

// One filter for everything that has a name.
const named = [...document.querySelectorAll(".filtered")];
const panels = named.filter((element) => element.matches(".panel"));
document.getElementById("filter").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const element of named) element.hidden = !element.dataset.name.toLowerCase().includes(wanted);
  const left = panels.filter((element) => !element.hidden).length;
  document.getElementById("shown").textContent = wanted ? `${left} of ${panels.length} questions` : "";
});

showLegend(document.querySelector(".legend"));

function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target && target.matches("details")) target.open = true;
}
window.addEventListener("hashchange", openTarget);
openTarget();
