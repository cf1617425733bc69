// Shows what the API tells. All text from it goes into text nodes, never into
// markup.
"use strict";

const ROWS = 200;
const SILENCE = 15000;
const at = (id) => document.getElementById(id);
const state = {
  jobs: new Map(),
  status: null,
  heard: 0,
  skew: 0,
  all: false,
  token: sessionStorage.getItem("regmirror-token") || "",
  stop: null,
  following: false,
  speeds: new Map(),
};

// ---- text

const count = new Intl.NumberFormat("en");

function span(seconds) {
  seconds = Math.max(0, Math.round(seconds));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${unit ? number.toFixed(1) : number} ${units[unit]}`;
}

const now = () => Date.now() + state.skew;
const ago = (time) => (time ? `${span((now() - Date.parse(time)) / 1000)} ago` : "never");

function until(time, none) {
  if (!time) return none;
  const left = (Date.parse(time) - now()) / 1000;
  return left > 0 ? `in ${span(left)}` : "now";
}

function node(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "data") Object.assign(made.dataset, value);
    else if (key === "scope" || key === "role" || key.startsWith("aria-")) made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

// A time that goes on: its text is made again each second.
function timed(make, title) {
  const made = node("time", { title: title || "" }, make());
  made.again = make;
  return made;
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// ---- the API

async function ask(method, path) {
  const headers = state.token ? { Authorization: `Bearer ${state.token}` } : {};
  const response = await fetch(`api/v1/${path}`, { method, headers, cache: "no-store" });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    const error = new Error(answer.error || `the answer was ${response.status}`);
    error.status = response.status;
    throw error;
  }
  return answer;
}

// Not EventSource: it cannot send a token.
async function listen() {
  const stop = new AbortController();
  state.stop = stop;
  const headers = state.token ? { Authorization: `Bearer ${state.token}` } : {};
  const response = await fetch("api/v1/events", { headers, signal: stop.signal, cache: "no-store" });
  if (response.status === 401) {
    signIn(state.token ? "That is not the token." : "");
    return "refused";
  }
  if (!response.ok) throw new Error(`the answer was ${response.status}`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return "over";
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      take(text.slice(0, end));
      text = text.slice(end + 2);
    }
  }
}

function take(message) {
  let name = "message";
  let data = "";
  for (const line of message.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (!data) return;
  const value = JSON.parse(data);
  state.heard = Date.now();
  if (name === "status") showStatus(value);
  if (name === "registries") showRegistries(value.registries);
  if (name === "jobs") {
    state.jobs = new Map(value.jobs.map((job) => [job.sync_job, job]));
    showJobs();
  }
  if (name === "changed") {
    for (const job of value.jobs) state.jobs.set(job.sync_job, job);
    showJobs();
  }
  if (name === "failures") showFailures(value.runs);
}

async function follow() {
  let pause = 500;
  state.following = true;
  for (;;) {
    try {
      if ((await listen()) === "refused") {
        state.following = false;
        return;
      }
      pause = 500;
    } catch {
      pause = Math.min(pause * 2, 10000);
    }
    lost();
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

function lost() {
  const badge = at("health");
  set(badge, "not connected");
  badge.className = "badge bad";
  if (state.status) {
    set(at("lost-since"), new Date(state.heard).toLocaleTimeString());
    at("lost").hidden = false;
  }
}

function signIn(error) {
  set(at("sign-in-error"), error);
  at("sign-in").hidden = false;
}

// ---- showing

function showStatus(status) {
  state.status = status;
  state.skew = Date.parse(status.now) - Date.now();
  at("lost").hidden = true;
  // Who may change something, and has no token yet, may want to.
  at("sign-in").hidden = !status.changeable || state.token !== "";
  const badge = at("health");
  const [text, kind] = status.draining
    ? ["ending", "mind"]
    : status.healthy
      ? status.jobs.unknown
        ? ["no failure so far", "good"]
        : ["healthy", "good"]
      : [status.jobs.failing ? `${status.jobs.failing} failing` : "not healthy", "bad"];
  set(badge, text);
  badge.className = `badge ${kind}`;
  document.title = `${text} - regmirror`;
  set(at("version"), status.regmirror);
  const parts = [`${count.format(status.jobs.total)} jobs`];
  if (status.jobs.running) parts.push(`${status.jobs.running} running`);
  if (status.jobs.paused) parts.push(`${status.jobs.paused} paused`);
  if (status.jobs.unknown) parts.push(`${status.jobs.unknown} not run yet`);
  parts.push(`${status.pool.busy} of ${status.pool.workers} workers busy`);
  if (status.pool.queued) parts.push(`${count.format(status.pool.queued)} images waiting`);
  at("facts").replaceChildren(
    `${parts.join(", ")}. Up `,
    timed(() => span((now() - Date.parse(state.status.started)) / 1000), status.started),
    ", configuration of ",
    timed(() => ago(state.status.config_loaded), status.config_loaded),
    ` (${status.config_hash}).`,
  );
  at("config-error").hidden = !status.config_error;
  set(at("config-error").querySelector("pre"), status.config_error || "");
  showTransfers(status.transfers);
}

function showTransfers(transfers) {
  at("transfers").hidden = transfers.length === 0;
  const speeds = new Map();
  const cards = transfers.map((transfer) => {
    const seconds = Math.max(0.5, (now() - Date.parse(transfer.started)) / 1000);
    const before = state.speeds.get(transfer.transfer);
    const recent = before
      ? (transfer.bytes - before.bytes) / Math.max(0.2, (now() - before.at) / 1000)
      : transfer.bytes / seconds;
    const speed = before ? before.speed * 0.6 + recent * 0.4 : recent;
    speeds.set(transfer.transfer, { bytes: transfer.bytes, at: now(), speed });
    const left = speed > 0 ? `, ${span((transfer.size - transfer.bytes) / speed)} left` : "";
    const told = `${bytes(transfer.bytes)} of ${bytes(transfer.size)}, ${bytes(Math.round(speed))}/s${left}`;
    return node("li", {},
      node("strong", {}, transfer.target),
      node("div", { className: "muted" }, transfer.digest.slice(0, 19)),
      node("progress", { max: Math.max(1, transfer.size), value: transfer.bytes, "aria-label": told }),
      told);
  });
  state.speeds = speeds;
  at("transfers").querySelector("ul").replaceChildren(...cards);
}

function showRegistries(registries) {
  const shown = registries.filter((one) => one.paused || one.pulls_left !== undefined);
  at("registries").hidden = shown.length === 0;
  const cards = shown.map((one) => {
    const card = node("li", { data: { registry: one.registry } }, node("strong", {}, one.registry));
    if (one.pulls_left !== undefined) {
      const of = one.pulls_allowed === undefined ? "" : ` of ${count.format(one.pulls_allowed)}`;
      const told = `${count.format(one.pulls_left)}${of} pulls left`;
      if (one.pulls_allowed) {
        card.append(node("meter", {
          max: one.pulls_allowed, value: one.pulls_left, low: one.pulls_allowed / 10,
          optimum: one.pulls_allowed, "aria-label": told,
        }));
      }
      card.append(node("div", {}, told));
      if (one.resets) {
        card.append(node("div", { className: "muted" }, "more ", timed(() => until(one.resets, ""), one.resets)));
      }
    }
    if (one.paused) {
      const images = one.waiting.reduce((sum, job) => sum + job.images, 0);
      const jobs = one.waiting.map((job) => job.sync_job);
      const told = jobs.length > 5 ? `${jobs.slice(0, 5).join(", ")} and ${jobs.length - 5} more` : jobs.join(", ");
      card.append(node("div", { className: "mind" }, "paused, asked again ",
        timed(() => until(one.resumes, "soon"), one.resumes)));
      if (images) card.append(node("div", {}, `${count.format(images)} images wait, of: ${told}`));
    }
    return card;
  });
  at("registries").querySelector("ul").replaceChildren(...cards);
}

const words = { ok: "ok", unknown: "not run yet" };

function row(job) {
  const run = job.running;
  const last = job.last_run;
  const label = words[job.state] || job.state;
  const detail = [];
  if (run) {
    const why = run.trigger === "start" ? "looking for what is missing: " : "";
    detail.push(node("small", { className: "muted" }, ` ${why}${count.format(run.tags_done)} of ${count.format(run.tags_known)} tags`));
  }
  if (job.waits_for.length) {
    detail.push(node("small", { className: "muted" }, ` waits for ${job.waits_for.join(", ")}`));
  }
  const cell = (name, ...content) => node("td", { role: "cell", data: { label: name } }, ...content);
  const number = (name, text) => {
    const made = cell(name, text);
    made.className = "number";
    return made;
  };
  const act = node("td", { role: "cell", className: "act" });
  if (state.status?.changeable && state.token) {
    const button = (text, path, off) => {
      const made = node("button", { type: "button", disabled: off, "aria-label": `${text}: ${job.sync_job}`, data: { path } }, text);
      made.addEventListener("click", () => act_on(made, job.sync_job, text));
      return made;
    };
    const name = encodeURIComponent(job.sync_job);
    const busy = run && run.trigger !== "start";
    act.append(
      busy
        ? button("Cancel", `runs/${encodeURIComponent(run.run_id)}/cancel`, false)
        : button("Run now", `jobs/${name}/trigger`, false),
      " ",
      job.paused ? button("Resume", `jobs/${name}/resume`, false) : button("Pause", `jobs/${name}/pause`, false),
    );
  }
  const made = node("tr", { role: "row", data: { job: job.sync_job, state: job.state } },
    node("th", { role: "rowheader", scope: "row" }, job.sync_job, node("small", {}, `${job.source} to ${job.target}`)),
    cell("State", node("span", { className: `state ${job.state}` }, label), ...detail),
    cell("Last success", timed(() => ago(job.last_success), job.last_success)),
    cell("Next run", job.paused ? "paused" : timed(() => until(job.next_run, "none"), job.next_run)),
    number("Lag", count.format(job.tags.pending)),
    number("Copied", last ? count.format(last.totals.copied) : "-"),
    number("Failed", count.format(job.tags.failed)),
    number("Took", last ? (last.duration_ms < 2000 ? `${last.duration_ms} ms` : span(last.duration_ms / 1000)) : "-"),
    act);
  if (last?.error) {
    const cause = node("div", { className: "cause bad" }, last.error);
    made.cells[1].append(cause);
  }
  return made;
}

const urgency = { failing: 0, waiting: 1, running: 2, paused: 3, unknown: 4, ok: 5 };

function showJobs() {
  const part = at("filter").value.trim().toLowerCase();
  const only = at("only").checked;
  const wanted = [...state.jobs.values()]
    .filter((job) => !part || `${job.sync_job} ${job.source} ${job.target}`.toLowerCase().includes(part))
    .filter((job) => !only || !["ok", "running"].includes(job.state))
    .sort((a, b) => (urgency[a.state] === 0 ? 0 : 1) - (urgency[b.state] === 0 ? 0 : 1) || a.sync_job.localeCompare(b.sync_job));
  const shown = state.all ? wanted : wanted.slice(0, ROWS);
  const focused = document.activeElement?.dataset?.path;
  const body = at("jobs").querySelector("tbody");
  // Rows that did not change stay, so that nobody loses their place in them.
  const rows = new Map([...body.rows].map((one) => [one.dataset.job, one]));
  const changeable = Boolean(state.status?.changeable && state.token);
  const next = shown.map((job) => {
    const text = JSON.stringify(job) + changeable;
    const known = rows.get(job.sync_job);
    if (known?.text === text) return known;
    const made = row(job);
    made.text = text;
    return made;
  });
  if (next.length !== body.rows.length || next.some((one, index) => one !== body.rows[index])) {
    body.replaceChildren(...next);
    if (focused) {
      [...body.querySelectorAll("button")].find((one) => one.dataset.path === focused)?.focus();
    }
  }
  at("nothing").hidden = wanted.length > 0;
  at("more").hidden = shown.length === wanted.length;
  set(at("shown"), wanted.length === state.jobs.size ? "" : `${count.format(wanted.length)} of ${count.format(state.jobs.size)}`);
}

function showFailures(runs) {
  at("no-failures").hidden = runs.length > 0;
  const items = runs.map((run) => {
    const failed = run.tags.filter((tag) => tag.result === "failed");
    const item = node("li", {},
      node("strong", {}, run.sync_job), " ",
      node("span", { className: `state ${run.result}` }, run.result), " ",
      timed(() => ago(run.started), run.started),
      node("span", { className: "muted" }, ` (run ${run.run_id}: ${count.format(run.totals.failed)} failed, ${count.format(run.totals.copied)} copied)`));
    for (const tag of failed.slice(0, 3)) {
      item.append(node("div", { className: "cause" }, `${tag.source}: ${tag.detail || tag.reason}`));
    }
    if (failed.length > 3) item.append(node("div", { className: "muted" }, `and ${run.totals.failed - 3} more`));
    return item;
  });
  at("failures").querySelector("ol").replaceChildren(...items);
}

async function act_on(button, job, text) {
  button.disabled = true;
  try {
    await ask("POST", button.dataset.path);
    set(at("said"), `${text}: ${job}, done`);
  } catch (error) {
    set(at("said"), `${text}: ${job}: ${error.message}`);
    if (error.status === 401) signIn("That is not the token.");
  } finally {
    button.disabled = false;
  }
}

// ---- beginning

at("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = at("token").value.trim();
  sessionStorage.setItem("regmirror-token", state.token);
  at("token").value = "";
  at("sign-in").hidden = true;
  set(at("sign-in-error"), "");
  if (!state.following) follow();
  else showJobs();
});
at("filter").addEventListener("input", showJobs);
at("only").addEventListener("change", showJobs);
at("more").addEventListener("click", () => {
  state.all = true;
  showJobs();
});
setInterval(() => {
  for (const one of document.querySelectorAll("time")) {
    if (one.again) set(one, one.again());
  }
  if (state.heard && Date.now() - state.heard > SILENCE) {
    lost();
    state.stop?.abort();
  }
}, 1000);
if ("token" in document.documentElement.dataset && !state.token) signIn("");
else follow();
