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

async function prompts(place) {
  try {
    const answer = await fetch(place.dataset.from);
    place.innerHTML = answer.ok ? await answer.text() : "<p class=tag>the prompts can't be shown</p>";
  } catch {
    reached(false);
  }
}

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input") && event.key !== "Escape") return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
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
const place = document.getElementById("prompts");
if (place) prompts(place);
