// The head, the bar, the keyboard, and what stands in the address.
function head() {
  const dark = () => document.documentElement.dataset.theme === "dark";
  const theme = el("button", { "aria-label": "Light or dark", title: "Light or dark (d)", id: "theme", onclick: () => { setTheme(dark() ? "light" : "dark"); } }, "◐");
  const took = flow.ended === undefined ? `${length(whole.to / 1.03)} so far` : length(flow.ended - (flow.began || 0));
  byId("head").replaceChildren(
    el("div", { class: "top" }, el("h1", {}, flow.id), el("span", { class: `pill ${flow.class}`, id: "state" }, flow.state), el("span", { class: "what" }, flow.definition),
      el("div", { class: "right" }, el("button", { onclick: () => { pick(-1); showRun(); repaint(); } }, "Input, output, ids"), theme, el("button", { "aria-label": "Keys", title: "Keys (?)", onclick: help }, "?"))),
    el("div", { class: "facts" }, fact("started", clock(flow.began)), fact("took", took), fact("steps", rows.filter((row) => !row.group).length.toLocaleString("en")),
      ...["undone by", "taken over by", "resumed from", "reset from"].filter((name) => flow.facts[name]).map((name) => fact(name, flow.facts[name]))),
    ...(flow.description ? [el("div", { class: "said" }, flow.description)] : []),
    ...(flow.error ? [el("div", { class: `why ${flow.class}` }, flow.error[0].includes(flow.error.at(-1)) ? flow.error[0] : `${flow.error[0]}\n${flow.error.at(-1)}`)] : []),
    ...(flow.decisions || []).map((word) => el("div", { class: "said" }, el("b", {}, word.action), `${word.by ? ` by ${word.by}` : ""}${word.reason ? `: ${word.reason}` : ""}, at ${clock(word.at)}`)),
  );
}

const fact = (name, text) => el("span", {}, `${name} `, el("b", {}, text));

function bar() {
  const tab = (name, text) => el("button", { "aria-pressed": app.tab === name ? "true" : "false", id: `tab-${name}`, onclick: () => { open(name); } }, text);
  const chips = [...counted()].sort().map(([name, count]) => el("button", {
    class: name, "aria-pressed": app.classes.has(name) ? "true" : "false", "data-class": name,
    onclick: () => { if (app.classes.has(name)) app.classes.delete(name); else app.classes.add(name); bar(); relist(); },
  }, `${WORDS[name] || name} `, el("b", {}, count.toLocaleString("en"))));
  const search = byId("search") || el("input", { id: "search", type: "search", placeholder: "Find steps  ( / )", "aria-label": "Find steps", oninput: (event) => { app.words = event.target.value.trim(); relist(); } });
  byId("bar").replaceChildren(
    el("div", { class: "tabs" }, tab("timeline", "Timeline"), tab("plan", "Plan")), search, el("div", { class: "chips" }, ...chips),
    el("div", { class: "tools" }, el("button", { "aria-label": "Zoom out", title: "Zoom out (-)", onclick: () => nearer(1.5) }, "−"), el("button", { title: "All of it (0)", onclick: all }, "Fit"), el("button", { "aria-label": "Zoom in", title: "Zoom in (+)", onclick: () => nearer(1 / 1.5) }, "+")),
  );
}

function nearer(factor) { if (app.tab === "plan") zoomPlan(1 / factor); else zoom(factor); }

function all() { if (app.tab === "plan") { camera.set = false; repaint(); } else look(whole.from, whole.to); }

function open(name) {
  app.tab = name;
  byId("timeline").hidden = name !== "timeline";
  byId("plan").hidden = name !== "plan";
  bar();
  if (name === "plan" && app.picked >= 0) { paintPlan(); centre(rows[app.picked]); }
  remember();
  repaint();
  (name === "plan" ? canvas : list).focus({ preventScroll: true });
}

function pick(index, show = false) {
  app.picked = index;
  if (index < 0) panel.hidden = true;
  else {
    if (app.tab === "timeline") reveal(index); else centre(rows[index]);
    if (show || !panel.hidden) showDetails(rows[index]);
  }
  remember();
  repaint();
}

function move(by) {
  if (!app.shown.length) return;
  const place = app.shown.indexOf(app.picked);
  const next = place < 0 ? (by > 0 ? 0 : app.shown.length - 1) : Math.min(Math.max(place + by, 0), app.shown.length - 1);
  pick(app.shown[next]);
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  tones.clear();
  overview = "";
  repaint();
}

const KEYS = [
  ["↑ ↓, j k", "the step before, the next one"], ["Page Up, Page Down, Home, End", "farther"], ["Enter", "all about the step"], ["Esc", "close it"],
  ["← →", "fold and unfold; in the plan: the step before, after"], ["+ − 0", "zoom in, out, all of it"], ["z", "zoom to the step"], ["[ ]", "earlier, later"],
  ["t, p", "timeline, plan"], ["n", "the next step that failed or needs a human"], ["/", "find steps"], ["d", "light or dark"],
  ["mouse", "Ctrl and wheel zooms; drag over the small picture at the top to choose a part; double-click zooms to a step"],
];

function help() {
  const list = el("dl");
  for (const [keys, text] of KEYS) list.append(el("dt", {}, el("kbd", {}, keys)), el("dd", {}, text));
  byId("help").replaceChildren(el("h2", {}, "Keys"), list, el("button", { onclick: () => byId("help").close() }, "Close"));
  byId("help").showModal();
}

function troubled() {
  const bad = ["failed", "stuck", "unknown"];
  const place = app.shown.indexOf(app.picked);
  const order = [...app.shown.slice(place + 1), ...app.shown.slice(0, place + 1)];
  const next = order.find((index) => !rows[index].group && bad.includes(rows[index].class));
  if (next !== undefined) pick(next, true);
}

function sideways(by) {
  if (app.picked < 0) return;
  const row = rows[app.picked];
  if (app.tab === "plan") {
    const node = placed.get(row.full);
    const name = by < 0 ? node && node.after[0] : (boxes.find((other) => other.after.includes(row.full)) || {}).name;
    const index = rows.findIndex((other) => other.full === name);
    if (index >= 0) pick(index);
  } else if (row.size && app.folded.has(row.index) === by > 0) toggle(row.index);
  else if (by < 0 && row.parent >= 0) pick(row.parent);
}

const page = () => Math.max(Math.floor(list.clientHeight / HEIGHT) - 1, 1);
const PRESSED = {
  ArrowDown: () => move(1), j: () => move(1), ArrowUp: () => move(-1), k: () => move(-1), PageDown: () => move(page()), PageUp: () => move(-page()),
  Home: () => move(-1e9), End: () => move(1e9), Enter: () => { if (app.picked >= 0) showDetails(rows[app.picked]); }, Escape: () => pick(-1),
  ArrowLeft: () => sideways(-1), ArrowRight: () => sideways(1), "+": () => nearer(1 / 1.5), "=": () => nearer(1 / 1.5), "-": () => nearer(1.5), 0: all,
  z: () => { if (app.picked >= 0) zoomTo(rows[app.picked]); }, "[": () => shift(-0.25), "]": () => shift(0.25), t: () => open("timeline"), p: () => open("plan"),
  n: troubled, "/": () => byId("search").focus(), d: () => byId("theme").click(), "?": help,
};

document.addEventListener("keydown", (event) => {
  const where = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  if (where.id === "search") {
    if (event.key === "Escape") { where.value = ""; app.words = ""; relist(); list.focus(); }
    if (event.key === "Enter" || event.key === "ArrowDown") { list.focus(); move(1); event.preventDefault(); }
    return;
  }
  if (where.tagName === "BUTTON" && (event.key === "Enter" || event.key === " ")) return;
  if (where.tagName === "PRE" && event.key.startsWith("Arrow")) return;
  const act = PRESSED[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

function remember() {
  const told = new URLSearchParams();
  if (app.tab !== "timeline") told.set("view", app.tab);
  if (app.picked >= 0) told.set("step", rows[app.picked].full);
  try { history.replaceState(null, "", `#${told}`); } catch { /* a page without an address */ }
}

function recall() {
  const told = new URLSearchParams(location.hash.slice(1));
  setTheme(told.get("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  const index = rows.findIndex((row) => row.full === told.get("step"));
  if (index >= 0) pick(index, true);
  if (told.get("view") === "plan") open("plan");
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => setTheme(event.matches ? "dark" : "light"));
new ResizeObserver(() => { camera.set = camera.set && app.tab === "plan" && !panel.hidden; repaint(); }).observe(byId("main"));
const KINDS = [["done", "work"], ["queue done", "in the queue"], ["tries done", "earlier attempts"], ["undo undone", "undo"], ["delay", "stood still"], ["wait", "wait, approval"]];
byId("legend").replaceChildren(
  ...KINDS.map(([name, text]) => el("span", {}, el("b", { class: "track" }, el("i", { class: name })), text)), el("span", {}, el("b", { class: "track" }, el("u")), "an operator decided"),
);
const legend = [...counted().keys()].sort().map((name) => el("span", { class: name }, WORDS[name] || name));
byId("plan-tools").replaceChildren(...legend);
canvas.setAttribute("aria-label", `The plan: ${number(boxes.length, "node")}. Arrow keys go from step to step, Enter shows one.`);
head();
bar();
relist();
recall();
list.focus({ preventScroll: true });
