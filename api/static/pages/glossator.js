// What every page does: theme, session, messages of htmx. Pages add scripts of their own.
"use strict";

const THEMES = ["system", "light", "dark"];

function say(text) {
  const status = document.getElementById("status");
  if (status) status.textContent = text;
}

function showTheme(button) {
  button.textContent = `Theme: ${document.documentElement.dataset.theme || "system"}`;
}

function switchTheme(button) {
  const now = document.documentElement.dataset.theme || "system";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  if (next === "system") {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem("glossator-theme");
  } else {
    document.documentElement.dataset.theme = next;
    localStorage.setItem("glossator-theme", next);
  }
  showTheme(button);
  document.dispatchEvent(new CustomEvent("glossator:theme"));
}

function ownPath(to) {
  return /^\/(?![\/\\])/.test(to) ? to : "/";
}

async function signIn(form) {
  const wrong = form.querySelector("[role=alert]");
  wrong.textContent = "";
  const key = form.elements.key.value.trim();
  if (!/^[\x21-\x7e]+$/.test(key)) {
    wrong.textContent = "A key has letters, digits and signs alone.";
    return;
  }
  const answer = await fetch("/v1/session", { method: "POST", headers: { authorization: `Bearer ${key}`, accept: "application/json" } });
  if (answer.ok) {
    location.replace(ownPath(form.dataset.to));
    return;
  }
  const problem = await answer.json();
  wrong.textContent = [problem.detail, problem.why].filter(Boolean).join(" ");
  form.elements.key.focus();
}

async function signOut(button) {
  await fetch("/v1/session", { method: "DELETE", headers: { "x-csrf-token": button.dataset.csrf } });
  location.assign("/sign-in");
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if ("themeSwitch" in button.dataset) switchTheme(button);
  if ("signOut" in button.dataset) signOut(button);
});

document.addEventListener("submit", (event) => {
  if (!("signIn" in event.target.dataset)) return;
  event.preventDefault();
  signIn(event.target);
});

// Empty fields of a filter are no filter: addresses stay short, and the server need not guess.
document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.verb !== "get") return;
  const sent = event.detail.formData;
  for (const name of [...new Set(sent.keys())]) {
    if (sent.getAll(name).every((value) => value === "")) sent.delete(name);
  }
});

document.addEventListener("htmx:beforeRequest", () => document.getElementById("problem")?.replaceChildren());
document.addEventListener("htmx:sendError", () => say("The server does not answer."));

for (const button of document.querySelectorAll("[data-theme-switch]")) {
  button.hidden = false;
  showTheme(button);
}
