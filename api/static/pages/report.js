// What a person says of a label is sent as a review.
"use strict";

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!("report" in form.dataset)) return;
  event.preventDefault();
  const said = form.querySelector("[data-said]");
  const verdict = form.elements.verdict.value;
  const words = form.elements.words.value.trim();
  if (!words && verdict !== "flag") {
    said.textContent = "Write it first.";
    form.elements.words.focus();
    return;
  }
  const body = { verdict, ...(words ? { [verdict === "edit" ? "text" : "comment"]: words } : {}) };
  const headers = { "content-type": "application/json", accept: "application/json", ...JSON.parse(document.body.getAttribute("hx-headers") || "{}") };
  const answer = await fetch(form.dataset.post, { method: "POST", headers, body: JSON.stringify(body) });
  if (answer.ok) {
    form.reset();
    said.textContent = verdict === "edit" ? "Kept as your label: it stands beside the others when the page is opened again." : "Kept.";
    document.dispatchEvent(new Event("reviewed"));
    return;
  }
  const problem = await answer.json();
  said.textContent = [problem.detail, problem.why, problem.cure, ...(problem.errors || []).map((one) => one.message)].filter(Boolean).join(" ");
});
