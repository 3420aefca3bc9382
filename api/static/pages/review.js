// Verdicts are sent as they are given, and the next label comes.
"use strict";

const item = () => document.querySelector("[data-item][data-post]");

async function judge(verdict, text) {
  const found = item();
  if (!found) return;
  const comment = document.getElementById("comment").value.trim();
  if (verdict === "comment" && !comment) {
    document.getElementById("comment").focus();
    say("Write a comment first.");
    return;
  }
  const body = { verdict, ...(text === undefined ? {} : { text }), ...(comment ? { comment } : {}) };
  const headers = { "content-type": "application/json", accept: "application/json", ...JSON.parse(document.body.getAttribute("hx-headers") || "{}") };
  const answer = await fetch(`${found.dataset.post}?run=${encodeURIComponent(found.dataset.run)}`, { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) {
    const problem = await answer.json();
    document.getElementById("problem").textContent = [problem.detail, problem.why, problem.cure, ...(problem.errors || []).map((one) => one.message)].filter(Boolean).join(" ");
    return;
  }
  say(`${verdict}: ${document.getElementById("judged").textContent}`);
  await htmx.ajax("GET", location.pathname + location.search, { target: "#item", swap: "innerHTML" });
  htmx.trigger(document.body, "reviewed");
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-verdict]");
  if (button) judge(button.dataset.verdict);
});

document.addEventListener("submit", (event) => {
  if ("edit" in event.target.dataset) {
    event.preventDefault();
    judge("edit", event.target.elements.text.value);
  }
  if ("reviewFilters" in event.target.dataset) for (const field of event.target.elements) if (field.name && field.value === "") field.disabled = true;
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "n") document.querySelector("[data-next]")?.click();
  if (!document.querySelector("[data-verdict]")) return;
  if (event.key === "a") judge("accept");
  if (event.key === "f") judge("flag");
  if (event.key === "e") {
    event.preventDefault();
    document.getElementById("text").focus();
  }
});

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.target.id === "item") document.querySelector("[data-item]")?.focus({ preventScroll: true });
});
