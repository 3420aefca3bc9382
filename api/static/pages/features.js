// Keys of the table of features: j, k, enter, slash. The row in focus is shown in the preview.
"use strict";

(() => {
  const isTyping = (target) => target.closest("input:not([type=checkbox]), select, textarea, [contenteditable]");
  const rows = () => [...document.querySelectorAll("[data-row]")];

  function move(step) {
    const all = rows();
    const now = all.indexOf(document.activeElement);
    const next = now + step;
    if (next >= all.length) {
      document.querySelector("[data-more]")?.click();
      return;
    }
    all[now < 0 ? (step > 0 ? 0 : all.length - 1) : Math.max(next, 0)]?.focus();
  }

  // Chosen features go into a named list. They stay chosen while filters change the table.
  const chosen = new Set();
  const form = document.querySelector("[data-into-list]");

  function choose() {
    document.activeElement.closest("tr")?.querySelector("[data-choose]")?.click();
  }

  function count() {
    form.querySelector("[data-count]").textContent = `${chosen.size} chosen`;
  }

  function restore() {
    for (const box of document.querySelectorAll("[data-choose]")) box.checked = chosen.has(box.value);
  }

  async function addToList(name) {
    const known = [...document.querySelectorAll("#lists option")].some((option) => option.value === name);
    const features = [...chosen];
    const headers = { "content-type": "application/json", accept: "application/json" };
    if (form.dataset.csrf) headers["x-csrf-token"] = form.dataset.csrf;
    const answer = await fetch(known ? `/v1/lists/${encodeURIComponent(name)}` : "/v1/lists", {
      method: known ? "PATCH" : "POST",
      headers,
      body: JSON.stringify(known ? { add: features } : { name, features }),
    });
    const said = form.querySelector("[data-said]");
    const found = await answer.json();
    if (!answer.ok) {
      said.textContent = [found.detail, found.why, found.cure].filter(Boolean).join(" ");
      return;
    }
    if (!known) document.getElementById("lists").append(new Option(name, name));
    const link = Object.assign(document.createElement("a"), { href: `${form.dataset.here}?list=${encodeURIComponent(name)}`, textContent: name });
    said.replaceChildren(`${found.size} features are in `, link, `. A job explains them again with features: "list:${name}".`);
    chosen.clear();
    count();
    restore();
  }

  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-choose]")) return;
    if (event.target.checked) chosen.add(event.target.value);
    else chosen.delete(event.target.value);
    count();
  });
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    if (chosen.size) addToList(form.elements.into.value);
    else form.querySelector("[data-said]").textContent = "Choose features first.";
  });
  document.addEventListener("htmx:afterSettle", restore);

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "x") choose();
    else if (event.key === "/") document.getElementById("q").focus();
    else return;
    event.preventDefault();
  });

  document.addEventListener("focusin", (event) => {
    for (const row of document.querySelectorAll("tr[aria-current]")) row.removeAttribute("aria-current");
    if (event.target.matches("[data-row]")) event.target.closest("tr").setAttribute("aria-current", "true");
  });

  // A click beside the links shows the row, as the keys do.
  document.addEventListener("click", (event) => {
    const row = event.target.closest("tbody tr");
    if (row && !event.target.closest("a, button, input")) row.querySelector("[data-row]")?.focus();
  });

  // The first row of a next page takes the focus. Other answers, as of the preview, settle in between.
  let before = -1;
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target.matches?.("[data-more]")) before = rows().length;
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.target.matches?.("[data-more]") && !event.detail.successful) before = -1;
  });
  document.addEventListener("htmx:afterSettle", () => {
    const all = rows();
    if (before < 0 || all.length <= before) return;
    all[before].focus();
    before = -1;
  });
})();
