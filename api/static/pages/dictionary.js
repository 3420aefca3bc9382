// Brushing a histogram fills in the span of the filter below it.
"use strict";

function edgeAt(svg, share) {
  const edges = JSON.parse(svg.dataset.edges);
  const place = Math.round(Math.min(Math.max(share, 0), 1) * (edges.length - 1));
  return { place, value: edges[place], share: place / (edges.length - 1) };
}

function shareOf(svg, event) {
  const box = svg.getBoundingClientRect();
  return (event.clientX - box.left) / box.width;
}

function inputsOf(svg) {
  const form = svg.closest("form");
  return [form.elements[`min_${svg.dataset.figure}`], form.elements[`max_${svg.dataset.figure}`]];
}

function showBrush(svg, low, high) {
  const brush = svg.querySelector(".brush");
  const width = svg.viewBox.baseVal.width;
  brush.removeAttribute("hidden");
  brush.setAttribute("x", low * width);
  brush.setAttribute("width", Math.max((high - low) * width, 1));
}

function begin(svg, event) {
  const from = shareOf(svg, event);
  const follow = (moved) => {
    const ends = [from, shareOf(svg, moved)].sort((one, other) => one - other);
    const [low, high] = [edgeAt(svg, ends[0]), edgeAt(svg, ends[1])];
    showBrush(svg, low.share, high.share);
    const [min, max] = inputsOf(svg);
    [min.value, max.value] = [low.value, high.value];
  };
  const end = () => {
    svg.removeEventListener("pointermove", follow);
    const [min, max] = inputsOf(svg);
    if (min.value !== "") say(`${min.value} to ${max.value}`);
  };
  svg.setPointerCapture(event.pointerId);
  svg.addEventListener("pointermove", follow);
  svg.addEventListener("pointerup", end, { once: true });
  svg.addEventListener("pointercancel", end, { once: true });
}

document.addEventListener("pointerdown", (event) => {
  const svg = event.target.closest?.("svg.brushed");
  if (svg && event.button === 0) begin(svg, event);
});

document.addEventListener("reset", (event) => {
  for (const brush of event.target.querySelectorAll(".brush")) brush.setAttribute("hidden", "");
});

document.addEventListener("submit", (event) => {
  if (!("spans" in event.target.dataset)) return;
  // An empty field is no filter. What was disabled is there again when the reader comes back.
  const empty = [...event.target.elements].filter((field) => field.name && field.value === "");
  for (const field of empty) field.disabled = true;
  setTimeout(() => { for (const field of empty) field.disabled = false; });
});

document.addEventListener("htmx:afterSwap", (event) => event.target.removeAttribute("aria-busy"));
