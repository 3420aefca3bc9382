// Contexts: the tooltip of a token, and the switches above them.
"use strict";

(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);

  function show(token) {
    const text = token.textContent.replace(/↵\n/g, "↵").replace(/ /g, "␣");
    tip.textContent = `${text}  ${token.dataset.v || "0.0000"}`;
    tip.hidden = false;
    const box = token.getClientRects()[0] || token.getBoundingClientRect();
    const left = Math.min(Math.max(box.left, 4), document.documentElement.clientWidth - tip.offsetWidth - 4);
    tip.style.left = `${left}px`;
    tip.style.top = `${box.top > tip.offsetHeight + 6 ? box.top - tip.offsetHeight - 4 : box.bottom + 4}px`;
  }

  document.addEventListener("pointerover", (event) => {
    const token = event.target.closest?.(".t");
    if (token) show(token);
    else tip.hidden = true;
  });
  // With a keyboard: a context in focus reads its tokens by arrows.
  function step(context, way) {
    const all = [...context.querySelectorAll(".t")];
    const now = all.findIndex((token) => token.classList.contains("read"));
    const next = all[Math.min(Math.max(now + way, 0), all.length - 1)];
    all[now]?.classList.remove("read");
    next.classList.add("read");
    show(next);
    say(tip.textContent);
  }

  document.addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way || !event.target.matches(".context")) return;
    event.preventDefault();
    step(event.target, way);
  });
  document.addEventListener("focusout", (event) => {
    if (!event.target.matches(".context")) return;
    event.target.querySelector(".read")?.classList.remove("read");
    tip.hidden = true;
  });
  document.addEventListener("scroll", () => (tip.hidden = true), { passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") tip.hidden = true;
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    const keys = { p: "[data-before]", n: "[data-after]", r: "[data-random]" };
    if (keys[event.key]) document.querySelector(keys[event.key])?.click();
  });

  function press(button) {
    for (const other of button.parentElement.querySelectorAll(`[data-${button.dataset.showVerdict === undefined ? "show-split" : "show-verdict"}]`)) {
      other.setAttribute("aria-pressed", String(other === button));
    }
  }

  function only(root, selector, name, wanted) {
    let shown = 0;
    for (const line of root.querySelectorAll(selector)) {
      line.hidden = wanted !== "" && line.dataset[name] !== wanted;
      shown += !line.hidden;
    }
    say(`${shown} shown`);
  }

  function toggle(button, name) {
    const isOn = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(isOn));
    document.documentElement.classList.toggle(name, isOn);
    return isOn;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if ("showSplit" in button.dataset) {
      press(button);
      only(button.closest("[data-contexts]"), "li[data-split]", "split", button.dataset.showSplit);
    } else if ("showVerdict" in button.dataset) {
      press(button);
      only(button.closest("[data-items]"), "li[data-verdict]", "verdict", button.dataset.showVerdict);
    } else if ("showBreaks" in button.dataset) {
      toggle(button, "breaks");
    } else if ("showLeft" in button.dataset) {
      const isOn = toggle(button, "lefts");
      for (const left of document.querySelectorAll(".context .left")) left.hidden = !isOn;
    }
  });
})();
