// Cards of jobs: an open job's events move its bars; buttons change it.
"use strict";

// A browser has six connections to a server: some are left for the reader.
const STREAMS = 3;
const POLL_MS = 5000;
const streams = new Map();

const number = (value) => value === null || value === undefined ? "–" : value.toLocaleString("en-US");

function update(card, job) {
  if (card.dataset.status !== job.status) {
    renew(card);
    return;
  }
  for (const stage of job.stages) {
    const line = card.querySelector(`[data-stage="${CSS.escape(stage.stage)}"]`);
    if (!line) { renew(card); return; }
    const bar = line.querySelector("progress");
    [bar.max, bar.value] = [stage.total || 1, stage.done];
    line.querySelector("[data-done]").textContent = `${number(stage.done)} / ${number(stage.total)} ${stage.unit}`;
  }
  const eta = card.querySelector("[data-eta]");
  if (eta) eta.textContent = job.eta ? new Date(job.eta).toISOString().slice(0, 16).replace("T", " ") + " UTC" : "not known yet";
  const spent = card.querySelector("[data-spent]");
  if (spent && job.budget) {
    const of = job.budget.spent;
    spent.textContent = `${number(of.calls)} calls, ${number(of.tokens)} tokens, ${of.usd === null ? "unknown price" : "$" + of.usd.toFixed(4)}`;
  }
}

async function renew(card) {
  const id = card.dataset.job;
  const answer = await fetch(`/jobs/${id}/card`, { headers: { "hx-request": "true" } });
  if (!answer.ok) return;
  const before = document.getElementById(`job-${id}`);
  if (!before) return;
  const hadFocus = before.contains(document.activeElement);
  const holder = document.createElement("template");
  holder.innerHTML = await answer.text();
  const fresh = holder.content.firstElementChild;
  before.replaceWith(fresh);
  if (fresh.dataset.status !== before.dataset.status) say(`${fresh.querySelector("h3").textContent.trim()}`);
  if (hadFocus) (fresh.querySelector("button") || document.getElementById("main")).focus();
  follow(fresh);
}

function follow(card) {
  const id = card.dataset.job;
  if (!("open" in card.dataset)) {
    streams.get(id)?.close();
    streams.delete(id);
    return;
  }
  if (streams.has(id) || streams.size >= STREAMS) return;
  const source = new EventSource(`/v1/jobs/${id}/events`);
  streams.set(id, source);
  const current = () => document.getElementById(`job-${id}`);
  source.addEventListener("progress", (event) => { if (current()) update(current(), JSON.parse(event.data)); });
  source.addEventListener("end", () => { source.close(); streams.delete(id); if (current()) renew(current()); });
}

async function change(button) {
  const card = button.closest("[data-job]");
  const action = button.dataset.action;
  if (action === "cancel" && !confirm("Cancel this job? What it has stored stays.")) return;
  const headers = { "content-type": "application/json", accept: "application/json", ...JSON.parse(document.body.getAttribute("hx-headers") || "{}") };
  const usd = card.querySelector("[data-usd]")?.value;
  const body = action === "resume" && usd !== undefined && usd !== "" ? JSON.stringify({ budget: { usd: Number(usd) } }) : undefined;
  button.disabled = true;
  const answer = await fetch(`/v1/jobs/${card.dataset.job}/${action}`, { method: "POST", headers, body });
  button.disabled = false;
  if (!answer.ok) {
    const problem = await answer.json();
    const place = document.getElementById("problem");
    place.textContent = [problem.detail, problem.why, problem.cure].filter(Boolean).join(" ");
    return;
  }
  document.getElementById("problem").replaceChildren();
  renew(card);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action]");
  if (button) change(button);
});

for (const card of document.querySelectorAll("[data-job]")) follow(card);
setInterval(() => {
  for (const card of document.querySelectorAll("[data-job][data-open]")) if (!streams.has(card.dataset.job)) renew(card);
}, POLL_MS);
addEventListener("pagehide", () => { for (const source of streams.values()) source.close(); });
