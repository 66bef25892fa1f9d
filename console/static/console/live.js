// Refreshes parts of a page: data-live is the URL, data-every the milliseconds between requests.
"use strict";

const unanswered = document.querySelector("[data-no-answer]");
const said = document.querySelector("[data-said]");
const shown = new Map();

function show(part, html) {
  if (shown.get(part) === html) return;
  shown.set(part, html);
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  part.innerHTML = html;
  if (focused) document.getElementById(focused)?.focus();
}

async function renew(part) {
  let ended = false;
  if (!document.hidden) {
    try {
      const answer = await fetch(part.dataset.live, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(answer.status);
      const news = await answer.json();
      show(part, news.html);
      // Tell a screen reader about changes, not about every refresh.
      if (said && said.textContent !== news.said) said.textContent = news.said;
      unanswered.hidden = true;
      part.classList.remove("stale");
      ended = news.ended;
    } catch {
      unanswered.hidden = false;
      part.classList.add("stale");
    }
  }
  if (ended) {
    part.dataset.ended = "";
    document.querySelectorAll("[data-until-ended]").forEach((one) => (one.hidden = true));
  } else setTimeout(renew, Number(part.dataset.every), part);
}

document.querySelectorAll("[data-live]").forEach(renew);
