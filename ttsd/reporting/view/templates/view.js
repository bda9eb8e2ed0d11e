"use strict";
// What is live is fetched again; only when it has changed is it put in place, and the filter is applied to it.
const live = document.getElementById("live");
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
      const scrolled = [...live.querySelectorAll(".scroll, .steps")].map((element) => [element.scrollLeft, element.scrollTop]);
      live.replaceChildren(...fresh.getElementById("live").childNodes);
      [...live.querySelectorAll(".scroll, .steps")].forEach((element, i) => {
        if (scrolled[i]) [element.scrollLeft, element.scrollTop] = scrolled[i];
      });
      document.querySelector("h1").textContent = fresh.querySelector("h1").textContent;
      applyFilter();
    }
  } catch {
    reached(false);
  }
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
if (live) setInterval(follow, Number(live.dataset.every));
document.querySelectorAll("[data-from]").forEach(fill);
