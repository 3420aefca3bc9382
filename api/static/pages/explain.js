// The form of a job: the same job as file and request, and what it would ask, while it is written.
"use strict";

const WAIT_MS = 600;
const form = document.querySelector("[data-job-form]");
const place = (name) => document.querySelector(`[data-${name}]`);
// Settings of an earlier job that have no field here are kept.
const earlier = JSON.parse(form.dataset.spec);
let timer = null;
let asked = 0;

function at(spec, path) {
  return path.split(".").reduce((found, name) => (found === null || found === undefined ? undefined : found[name]), spec);
}

function put(spec, path, value) {
  const names = path.split(".");
  const last = names.pop();
  let inner = spec;
  for (const name of names) inner = inner[name] = inner[name] && typeof inner[name] === "object" ? inner[name] : {};
  if (value === undefined) delete inner[last];
  else inner[last] = value;
}

function valueOf(field) {
  const text = field.value.trim();
  if (text === "") return undefined;
  if (field.type === "number") return Number(text);
  return field.name === "corpus.include" ? text.split(/\s+/) : text;
}

function job() {
  const spec = structuredClone(earlier);
  for (const field of form.querySelectorAll("input:not([type=checkbox])")) {
    const value = valueOf(field);
    const inner = field.name.split(".").slice(0, -1).join(".");
    if (value === undefined && inner && at(spec, inner) === undefined) continue;
    put(spec, field.name, value);
  }
  // A model without a name is none.
  for (const role of ["explainer", "judge"]) if (spec.models?.[role] && !spec.models[role].model) delete spec.models[role];
  if (spec.models && !Object.keys(spec.models).length) delete spec.models;
  for (const kind of ["explainers", "scorers"]) {
    const before = new Map((earlier[kind] || []).map((one) => [typeof one === "string" ? one : one.name, one]));
    const names = [...form.querySelectorAll(`input[name=${kind}]:checked`)].map((box) => box.value);
    spec[kind] = names.map((name) => before.get(name) ?? name);
  }
  if (form.elements.health.checked) spec.health = spec.health || true;
  else delete spec.health;
  if (!spec.features) spec.features = "all";
  return spec;
}

function fill() {
  for (const field of form.querySelectorAll("input:not([type=checkbox])")) {
    const value = at(earlier, field.name);
    if (value === undefined || value === null) continue;
    field.value = field.name === "corpus.include" ? value.join(" ") : Array.isArray(value) ? value.join(",") : value;
  }
  for (const [kind, standard] of [["explainers", ["pattern"]], ["scorers", ["detection", "simulation"]]]) {
    const names = (earlier[kind] || standard).map((one) => (typeof one === "string" ? one : one.name));
    for (const box of form.querySelectorAll(`input[name=${kind}]`)) box.checked = names.includes(box.value);
  }
  form.elements.health.checked = Boolean(earlier.health);
}

// A line for each part, whose value is JSON, which is YAML, too.
const yaml = (spec) => Object.entries(spec).map(([name, value]) => `${name}: ${JSON.stringify(value)}`).join("\n");
const curl = (spec) => `curl -s ${location.origin}/v1/jobs -H 'content-type: application/json' -d '${JSON.stringify(spec).replaceAll("'", "'\\''")}'`;

function headers() {
  return { "content-type": "application/json", accept: "application/json", ...(form.dataset.csrf ? { "x-csrf-token": form.dataset.csrf } : {}) };
}

function clearErrors() {
  for (const one of form.querySelectorAll("[data-error]")) one.textContent = "";
}

function showProblem(problem, where) {
  clearErrors();
  const rest = [];
  for (const error of problem.errors || []) {
    const field = form.querySelector(`[data-error="${CSS.escape(String(error.field).split(".")[0])}"]`);
    if (field) field.textContent = error.message;
    else rest.push(`${error.field}: ${error.message}`);
  }
  where.textContent = [problem.detail, problem.why, problem.cure, ...rest].filter(Boolean).join(" ");
}

function showEstimate(found) {
  const said = document.createElement("ul");
  const line = (text) => { const item = document.createElement("li"); item.textContent = text; said.append(item); };
  const total = found.total;
  line(`${found.features.toLocaleString("en-US")} features`);
  line(`${total.calls.toLocaleString("en-US")} calls, ${total.prompt_tokens.toLocaleString("en-US")} tokens in, ${total.completion_tokens.toLocaleString("en-US")} out`);
  line(total.cost_usd === null ? `cost unknown: ${total.why || "the price is not known"}` : `$${total.cost_usd.toFixed(4)}`);
  if (found.corpus) line(`${found.corpus.files.toLocaleString("en-US")} files, ${found.corpus.bytes.toLocaleString("en-US")} bytes of text`);
  if (found.within_budget === false) line("More than the budget: the job would pause when it is reached.");
  for (const warning of found.warnings || []) line(warning.detail);
  for (const note of found.notes) line(note);
  place("estimate").replaceChildren(said);
}

async function estimate(spec) {
  const number = ++asked;
  if (!spec.subject?.model || !spec.dictionary?.source || !spec.corpus?.path) return;
  const answer = await fetch("/v1/jobs/estimate", { method: "POST", headers: headers(), body: JSON.stringify(spec) });
  const found = await answer.json();
  // A later job was asked about meanwhile.
  if (number !== asked) return;
  if (!answer.ok) { showProblem(found, place("estimate")); return; }
  clearErrors();
  showEstimate(found);
}

function written() {
  const spec = job();
  place("yaml").textContent = yaml(spec);
  place("curl").textContent = curl(spec);
  clearTimeout(timer);
  timer = setTimeout(() => estimate(spec), WAIT_MS);
}

async function send(path) {
  const outcome = place("outcome");
  outcome.textContent = "Sending…";
  const answer = await fetch(path, { method: "POST", headers: headers(), body: JSON.stringify(job()) });
  const found = await answer.json();
  if (!answer.ok) { showProblem(found, outcome); return; }
  location.assign(`/#job-${found.id}`);
}

form.addEventListener("input", written);
form.addEventListener("submit", (event) => { event.preventDefault(); send("/v1/jobs"); });
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if ("check" in button.dataset && form.reportValidity()) send("/v1/checks");
  if ("copy" in button.dataset) {
    const text = place(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(text.textContent);
      say("Copied.");
    } catch {
      getSelection().selectAllChildren(text);
      say("Selected: copy it by keyboard.");
    }
  }
});

fill();
written();
