// The page keeps all objects by key and draws those that can be seen. Texts of the
// cluster are only ever set as text.
import { matches, sorted, number, ago, percent, span } from "./rows.js";
import { draw, forget } from "./charts.js";
import { own, follow } from "./stream.js";

const $ = (id) => document.getElementById(id);
const rows = new Map();
const states = ["failing", "fallback", "active", "idle", "paused", "unknown"];
const filter = { text: "", namespace: "", family: "", states: new Set(), order: "attention" };
let shown = [], chosen = "", leave = null, complete = false, due = false, troubles = {}, trouble = "";

// element makes one with a text and classes.
function element(tag, text, classes) {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (classes) e.className = classes;
  return e;
}

// set changes a text only where it is another: what stays does not flicker.
function set(e, text) { if (e.textContent !== text) e.textContent = text; }

function soon() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => { due = false; if (!$("overview").hidden) overview(); if (!$("object").hidden) details(chosen); });
}

// ---- all objects

function changed(event, changes) {
  if (changes.reset) { rows.clear(); at = 0; }
  for (const row of changes.rows ?? []) rows.set(row.key, row);
  for (const key of changes.gone ?? []) rows.delete(key);
  complete = changes.complete;
  troubles = changes.trouble ?? {};
  live("");
  say();
  soon();
}

function live(lost) {
  $("live").dataset.live = lost ? "no" : "yes";
  set($("live"), lost || "live");
}

// say says what is not as it should be, with the trouble of what is seen.
function say(more = trouble) {
  trouble = more;
  const texts = [...Object.values(troubles), ...(more ? [more] : [])];
  $("trouble").hidden = texts.length === 0;
  set($("trouble"), texts.join("\n"));
}

function choices(select, first, values) {
  const want = ["", ...values];
  if (want.length === select.options.length && want.every((v, i) => select.options[i].value === v)) return;
  const had = select.value;
  select.replaceChildren(...want.map((v) => { const o = element("option", v || first); o.value = v; return o; }));
  select.value = want.includes(had) ? had : "";
}

function overview() {
  const list = [...rows.values()];
  choices($("namespace"), "all namespaces", [...new Set(list.map((r) => r.namespace))].sort());
  choices($("family"), "all families", [...new Set(list.flatMap((r) => r.families ?? []))].sort());
  const others = list.filter((r) => matches(r, { ...filter, states: new Set() }));
  const count = {};
  for (const r of others) count[r.state] = (count[r.state] ?? 0) + 1;
  for (const button of document.querySelectorAll(".states button")) {
    set(button.lastChild, ` ${count[button.dataset.state] ?? 0}`);
    button.setAttribute("aria-pressed", filter.states.has(button.dataset.state));
  }
  shown = calm(others.filter((r) => matches(r, filter)));
  set($("count"), `${shown.length} of ${list.length}`);
  $("none").hidden = shown.length > 0;
  set($("none"), !complete ? "reading the cluster ..." : list.length ? "nothing matches the filter" : "nothing is scaled here");
  visible();
}

// calm orders rows, and leaves them where they are for a while: nobody reads, or hits,
// what jumps.
let places = new Map(), placed = "", at = 0;
function calm(list) {
  const by = JSON.stringify([filter.order, filter.text, filter.namespace, filter.family, [...filter.states]]);
  const still = $("list").matches(":hover") ? 30_000 : 5_000;
  if (!complete || by !== placed || Date.now() - at >= still) {
    const now = sorted(list, filter.order);
    places = new Map(now.map((r, i) => [r.key, i]));
    placed = by;
    at = Date.now();
    return now;
  }
  for (const r of list) if (!places.has(r.key)) places.set(r.key, places.size);
  return list.sort((a, b) => places.get(a.key) - places.get(b.key));
}

const height = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));
const lines = new Map(); // by key
let made = 0;

// visible draws the rows that can be seen, and moves those that are there.
function visible() {
  const list = $("list"), h = height();
  $("room").style.height = `${shown.length * h}px`;
  const from = Math.max(Math.floor(list.scrollTop / h) - 5, 0);
  const to = Math.min(Math.ceil((list.scrollTop + list.clientHeight) / h) + 5, shown.length);
  const seen = new Set();
  for (let i = from; i < to; i++) {
    const row = shown[i];
    seen.add(row.key);
    let line = lines.get(row.key);
    if (!line) {
      line = element("a", undefined, "row");
      line.setAttribute("role", "option");
      line.tabIndex = -1;
      line.id = `row-${made++}`;
      for (const classes of ["", "state", "number work", "number load", "number replicas", "number wakes", "number cold", "last", "problem"]) line.append(element("span", "", classes));
      line.firstChild.append(document.createTextNode(""), element("small", ""));
      lines.set(row.key, line);
      $("room").append(line);
    }
    fill(line, row);
    line.style.top = `${i * h}px`;
  }
  for (const [key, line] of lines) if (!seen.has(key)) { line.remove(); lines.delete(key); }
  list.setAttribute("aria-activedescendant", lines.get(chosen)?.id ?? "");
}

function fill(line, row) {
  line.href = address(row.key);
  line.dataset.key = row.key;
  line.setAttribute("aria-selected", row.key === chosen);
  const [name, state, work, load, replicas, wakes, cold, last, problem] = line.children;
  const title = (row.kind === "ScaledJob" ? "sj/" : "") + row.name;
  if (name.firstChild.data !== title) name.firstChild.data = title;
  set(name.lastChild, `  ${row.namespace}`);
  name.title = `${row.namespace}/${row.name}`;
  set(state, row.state);
  const classes = `state ${states.includes(row.state) ? row.state : "unknown"}`;
  if (state.className !== classes) state.className = classes;
  set(work, number(row.backlog));
  work.title = row.metric ?? "";
  set(load, percent(row.load));
  set(replicas, replicasOf(row));
  set(wakes, row.wakes ? String(row.wakes) : "");
  set(cold, span(row.coldStart?.seconds));
  cold.title = row.coldStart?.outcome ?? "";
  set(last, ago(row.lastActive));
  set(problem, row.problem ?? "");
  problem.title = row.problem ?? "";
}

function replicasOf(row) {
  const there = number(row.replicas);
  return row.desired !== undefined && row.desired !== row.replicas && there !== "-" ? `${there} → ${row.desired}` : there;
}

const address = (key) => "#/" + key.split("/").map(encodeURIComponent).join("/");

for (const state of states) {
  const button = element("button");
  button.type = "button";
  button.dataset.state = state;
  button.append(element("span", state, `state ${state}`), document.createTextNode(" 0"));
  button.onclick = () => { if (!filter.states.delete(state)) filter.states.add(state); soon(); };
  document.querySelector(".states").append(button);
}
$("text").oninput = () => { filter.text = $("text").value; soon(); };
for (const id of ["namespace", "family", "order"]) $(id).onchange = () => { filter[id] = $(id).value; soon(); };
$("list").addEventListener("scroll", () => requestAnimationFrame(visible), { passive: true });
addEventListener("resize", soon);
setInterval(soon, 5000); // "3 s ago" grows older

// ---- one object

let detail = null; // of the object that is seen

function object(key) {
  const [kind, namespace, name] = key.split("/");
  set($("kind"), kind);
  set($("title"), `${namespace}/${name}`);
  for (const id of ["summary", "figures", "why", "conditions", "decisions"]) $(id).replaceChildren();
  forget();
  detail = null;
  hear(`api/object?${new URLSearchParams({ kind, namespace, name })}`, (now) => {
    detail = now;
    set($("summary"), detail.why?.summary ?? "");
    details(key);
    draw(detail, rows.get(key));
    explain(detail);
    $("conditions").replaceChildren(...(detail.conditions ?? []).map(condition));
    const decisions = (detail.decisions ?? []).toReversed().map((d) => timed(d.time, d.text));
    $("decisions").replaceChildren(...(decisions.length ? decisions : [element("li", "none is known", "quiet")]));
  });
}

// details shows figures of now, between what is told of the object, too.
function details(key) {
  if (detail) figures(rows.get(key) ?? detail.row, detail);
}

function condition(c) {
  const e = element("div", undefined, "condition"), told = element("div");
  told.append(element("b", c.reason ?? ""), element("span", c.message ?? ""));
  e.append(element("span", c.type, "type"), element("span", c.status, "quiet"), told);
  return e;
}

function timed(time, text) {
  const e = element("li");
  e.append(element("time", clock(time)), document.createTextNode(text));
  return e;
}

function clock(time) {
  const t = new Date(time), today = t.toDateString() === new Date().toDateString();
  return (today ? "" : t.toLocaleDateString("en-CA") + " ") + t.toLocaleTimeString("en-GB");
}

function figures(row, detail) {
  const cold = detail.why?.coldStart;
  const told = [["State", row.state], ["Work", number(row.backlog)], ["Load", percent(row.load)], ["Replicas", replicasOf(row)],
    ["Least and most", `${row.min ?? 0} to ${row.max ?? "-"}`], ["Last active", ago(row.lastActive)], ["Woken", String(row.wakes ?? 0)],
    ["Last cold start", cold?.outcome === "measured" ? span(cold.seconds) : cold?.outcome ?? "-"]];
  const place = $("figures");
  while (place.children.length < told.length) {
    const div = element("div");
    div.append(element("span", ""), element("b", ""));
    place.append(div);
  }
  told.forEach(([title, text], i) => {
    set(place.children[i].firstChild, title);
    set(place.children[i].lastChild, text);
    place.children[i].lastChild.classList.toggle("words", /[a-z]{3}/.test(text) && i > 0);
  });
  place.children[0].lastChild.className = `state ${states.includes(row.state) ? row.state : "unknown"}`;
}

// explain says what kubectl sluice why says.
function explain({ why = {}, coldStart }) {
  const parts = [];
  const part = (title, items) => {
    if (!items?.length) return;
    const list = element("ul");
    list.append(...items.map((i) => typeof i === "string" ? element("li", i) : i));
    parts.push(element("h3", title), list);
  };
  part("What helps", why.cures?.map((c) => `${c.reason}: ${c.cure}`));
  part("What is looked at", why.inputs?.map(input));
  part("What came of it", [why.formula, why.result].filter(Boolean));
  part("What limits it", why.limits);
  part("Who acts next", why.next);
  part("What would change it", why.changes);
  part("Last cold start", coldStart ? [coldStart] : []);
  part("Events", why.events?.map((e) => timed(e.time, `${e.reason}: ${e.message}${e.cure ? ` (what helps: ${e.cure})` : ""}`)));
  part("What is missing", why.missing);
  if (why.source) parts.push(element("p", why.source === "controller" ? "Told by the controller that leads." : "Told by the API server alone: no controller tells more.", "quiet"));
  $("why").replaceChildren(...parts);
}

function input(i) {
  let text = `${i.metric}: ` + (i.value !== undefined ? number(i.value) : i.outcome);
  if (i.value !== undefined && i.target) text += ` at a target of ${number(i.target)} ${i.whole ? "in all" : "each"}`;
  if (i.error) text += `: ${i.error}`;
  text += i.active ? ", active" : ", not active";
  if (i.fallback) text += "; fallback stands in for it";
  if (i.readAt) text += `; read ${ago(i.readAt)}`;
  if (i.noticed) text += ` (${i.noticed})`;
  return text;
}

// ---- families

const columns = [...document.querySelectorAll("#families th")].map((th) => th.textContent);

function familiesPage() {
  hear("api/families", (list) => {
    const body = document.querySelector("#families tbody");
    body.replaceChildren(...(list ?? []).map(instance));
    $("nofamily").hidden = (list ?? []).length > 0;
    set($("nofamily"), "no family is installed in the namespace of Sluice (--sluice-namespace)");
  });
}

function instance(f) {
  const rate = (n) => n === undefined ? "-" : n.toFixed(1);
  const tr = element("tr"), state = f.problem ? "unknown" : f.ready ? "active" : "failing";
  tr.append(element("td", f.family), element("td", f.pod), element("td"));
  tr.lastChild.append(element("span", f.problem ? "not asked" : f.ready ? "ready" : "not ready", `state ${state}`));
  for (const text of [number(f.subscriptions), number(f.questions), number(f.connections), rate(f.reads), rate(f.errors), span(f.median), span(f.p99)]) tr.append(element("td", text, "number"));
  const memory = element("td", undefined, "text");
  if (f.problem) memory.textContent = f.problem;
  else if (f.memory !== undefined) {
    if (f.memoryLimit) { const m = document.createElement("meter"); m.max = f.memoryLimit; m.high = f.memoryLimit * 0.9; m.value = f.memory; memory.append(m); }
    memory.append(element("span", `${Math.round(f.memory / 1048576)}${f.memoryLimit ? ` of ${Math.round(f.memoryLimit / 1048576)}` : ""} MiB`));
  }
  tr.append(memory);
  [...tr.children].forEach((td, i) => { td.dataset.label = columns[i]; });
  return tr;
}

// ---- pages and keys

// hear follows what the page that is seen shows, in place of what it was before.
function hear(path, each) {
  leave = follow(path, (event, data) => {
    if (event === "trouble") { say(data); return; }
    say("");
    each(data);
  }, say);
}

function parts() {
  try { return location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent); } catch { return []; } // whoever wrote it
}

function go() {
  const at = parts();
  const view = at.length === 3 ? "object" : at[0] === "families" ? "families" : "overview";
  for (const section of document.querySelectorAll("[data-view]")) section.hidden = section.id !== view;
  for (const a of document.querySelectorAll("nav a")) a.toggleAttribute("aria-current", a.dataset.page === view);
  leave?.();
  leave = null;
  say("");
  document.title = view === "object" ? `${at[2]} - Sluice` : "Sluice";
  if (view === "object") { chosen = at.join("/"); object(chosen); }
  if (view === "families") familiesPage();
  if (view === "overview") { overview(); $("list").focus({ preventScroll: true }); }
}
addEventListener("hashchange", go);

function move(by) {
  const at = shown.findIndex((r) => r.key === chosen);
  const to = Math.min(Math.max(at < 0 ? 0 : at + by, 0), shown.length - 1);
  if (!shown[to]) return;
  chosen = shown[to].key;
  const h = height(), list = $("list");
  if (to * h < list.scrollTop) list.scrollTop = to * h;
  if ((to + 1) * h > list.scrollTop + list.clientHeight) list.scrollTop = (to + 1) * h - list.clientHeight;
  visible();
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const typing = event.target.matches("input, select");
  if (event.key === "Escape") {
    if (event.target === $("text") && $("text").value) { $("text").value = ""; filter.text = ""; soon(); return; }
    if (typing) { event.target.blur(); $("list").focus(); return; }
    location.hash = "#/";
    return;
  }
  if (event.key === "Enter" && event.target === $("text") && shown[0]) { chosen = shown.some((r) => r.key === chosen) ? chosen : shown[0].key; location.hash = address(chosen); return; }
  if (typing) return;
  const keys = {
    "/": () => { location.hash = "#/"; setTimeout(() => $("text").focus()); },
    j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1),
    Enter: () => { if (chosen && !$("overview").hidden) location.hash = address(chosen); },
    o: () => { location.hash = "#/"; }, f: () => { location.hash = "#/families"; }, "?": () => $("help").showModal(),
  };
  if (!keys[event.key] || event.key === "Enter" && event.target.matches("a, button")) return;
  event.preventDefault();
  keys[event.key]();
});
$("keys").onclick = () => $("help").showModal();
own();
follow("api/rows", changed, live);
go();
