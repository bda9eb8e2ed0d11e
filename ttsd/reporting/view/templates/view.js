// What is live is fetched again; only when it has changed is it put in place, and the filter is applied to it.
const EVERY = 2000; // milliseconds
const live = [...document.querySelectorAll(".live")];
const filter = document.getElementById("filter");
let tag = null;

function applyFilter() {
  if (!filter) return;
  const wanted = filter.value.trim().toLowerCase();
  for (const row of document.querySelectorAll(".filtered")) row.hidden = !row.dataset.name.toLowerCase().includes(wanted);
}

function reached(answers) {
  const notice = document.querySelector(".gone");
  if (answers && notice) notice.remove();
  if (!answers && !notice) {
    document.body.insertAdjacentHTML("beforeend", '<p class="gone" role="status">ttsd view has stopped</p>');
  }
}

async function follow() {
  try {
    const answer = await fetch(location.pathname, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
    reached(true);
    if (answer.status === 200) {
      tag = answer.headers.get("ETag");
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const scrolling = () => [...document.querySelectorAll(".live .scroll, .live .steps")];
      const scrolled = scrolling().map((element) => [element.scrollLeft, element.scrollTop]);
      fresh.querySelectorAll(".live").forEach((element, i) => live[i].replaceChildren(...element.childNodes));
      scrolling().forEach((element, i) => {
        if (scrolled[i]) [element.scrollLeft, element.scrollTop] = scrolled[i];
      });
      document.querySelector("h1").textContent = fresh.querySelector("h1").textContent;
      applyFilter();
    }
  } catch {
    reached(false);
  }
}

function load(address) {
  return new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: address, onload: resolve, onerror: reject });
    document.head.append(script);
  });
}

// Charts are asked for again at leisure: counting a large record takes its time.
async function followCharts(place) {
  let took = 0;
  try {
    if (!window.vegaEmbed) await load(place.dataset.script);
    const start = performance.now();
    const answer = await fetch(place.dataset.charts, { headers: place.tag ? { "If-None-Match": place.tag } : {}, cache: "no-store" });
    took = performance.now() - start;
    reached(true);
    if (answer.status === 200) {
      place.tag = answer.headers.get("ETag");
      await showCharts(await answer.json());
      document.getElementById("waiting")?.remove();
      const legend = document.querySelector(".legend");
      if (legend) showLegend(legend);
    }
  } catch {
    reached(false);
  }
  setTimeout(followCharts, Math.min(Math.max(EVERY, 10 * took), 15 * EVERY), place);
}

async function fill(place) {
  try {
    const answer = await fetch(place.dataset.from);
    const text = await answer.text();
    if (answer.ok) {
      place.innerHTML = text;
    } else {
      place.className = "tag";
      place.textContent = new DOMParser().parseFromString(text, "text/html").querySelector("main")?.textContent || "this can't be shown";
    }
  } catch {
    reached(false);
  }
}

// The numbers of the token that is pointed at, touched, or reached with the arrow keys.
function choose(token) {
  if (!token || !token.matches(".tokens span")) return;
  document.querySelector(".tokens .chosen")?.classList.remove("chosen");
  token.classList.add("chosen");
  document.getElementById("numbers").textContent = `${JSON.stringify(token.textContent)}: ${token.title}`;
}

function walk(event) {
  const from = document.querySelector(".tokens .chosen");
  const first = event.target.firstElementChild;
  const next = { ArrowLeft: from?.previousElementSibling, ArrowRight: from ? from.nextElementSibling : first }[event.key];
  if (!next) return;
  choose(next);
  next.scrollIntoView({ block: "nearest" });
}

for (const name of ["pointerover", "click"]) document.addEventListener(name, (event) => choose(event.target));
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input") && event.key !== "Escape") return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches(".tokens") && event.key.startsWith("Arrow")) {
    event.preventDefault();
    walk(event);
    return;
  }
  const link = { ArrowLeft: "previous", ArrowRight: "next", Escape: "up" }[event.key];
  if (event.key === "/" && filter) {
    event.preventDefault();
    filter.focus();
  } else if (event.target.matches("input")) {
    event.target.blur();
  } else if (link && document.getElementById(link)) {
    document.getElementById(link).click();
  }
});

if (filter) filter.addEventListener("input", applyFilter);
if (live.length) setInterval(follow, EVERY);
document.querySelectorAll("[data-charts]").forEach(followCharts);
document.querySelectorAll("[data-from]").forEach(fill);
