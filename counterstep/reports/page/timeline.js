// The timeline: one row a step, of which only those in sight are elements.
const HEIGHT = 28;
const list = byId("rows");
const space = byId("space");
let drawn = new Map();
let asked = false;
let overview = ""; // what the small picture shows, so that scrolling doesn't draw it again

function repaint() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; if (app.tab === "timeline") { paintRows(); paintTicks(); paintOverview(); } else paintPlan(); });
}

function trackWidth() {
  const names = parseFloat(getComputedStyle(list).getPropertyValue("--names"));
  return Math.max(list.clientWidth - names, 50);
}

function relist() {
  choose();
  overview = "";
  space.style.height = `${Math.max(app.shown.length * HEIGHT, 1)}px`;
  byId("axis-names").textContent = app.shown.length === rows.length ? number(rows.length, "step") : `${app.shown.length} of ${number(rows.length, "step")}`;
  for (const node of drawn.values()) node.remove();
  drawn = new Map();
  const empty = byId("none");
  if (empty) empty.remove();
  if (!app.shown.length) space.append(el("div", { id: "none", class: "none" }, rows.length ? "No step fits." : "There are no steps."));
  repaint();
}

function paintRows() {
  const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 6);
  const last = Math.min(app.shown.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + 6);
  const width = trackWidth();
  const stamp = `${app.view.from}/${app.view.to}/${width}`;
  const keep = new Map();
  for (let place = first; place < last; place++) {
    const index = app.shown[place];
    let node = drawn.get(index);
    if (!node || node.place !== place || node.stamp !== stamp) {
      if (node) node.remove();
      node = rowNode(rows[index], place, width);
      node.place = place;
      node.stamp = stamp;
      space.append(node);
    }
    node.setAttribute("aria-selected", index === app.picked ? "true" : "false");
    keep.set(index, node);
  }
  for (const [index, node] of drawn) if (keep.get(index) !== node) node.remove();
  drawn = keep;
  if (app.picked >= 0 && keep.has(app.picked)) list.setAttribute("aria-activedescendant", `row-${app.picked}`);
  else list.removeAttribute("aria-activedescendant");
}

function rowNode(row, place, width) {
  const took = span(row);
  const say = `${row.full}, ${row.state}${took ? `, ${length(took.to - took.from)}` : ""}`;
  const fold = row.size && !(app.words || app.classes.size)
    ? el("button", { class: "fold", tabindex: "-1", "aria-label": app.folded.has(row.index) ? "unfold" : "fold", onclick: (event) => { event.stopPropagation(); toggle(row.index); } }, app.folded.has(row.index) ? "▸" : "▾")
    : null;
  const kinds = { wait: "◷", approval: "◆", child: "▣" };
  return el("div", {
    class: `row ${row.class}${row.group ? " group" : ""}`, role: "option", id: `row-${row.index}`, "aria-label": say, "aria-posinset": place + 1, "aria-setsize": app.shown.length,
    style: { top: `${place * HEIGHT}px` }, onclick: () => pick(row.index, true), ondblclick: () => zoomTo(row),
  },
  el("div", { class: "who", title: row.full, style: { paddingLeft: `${20 + row.depth * 16}px` } },
    fold, el("span", { class: `dot${row.class === "idle" ? " hollow" : ""}` }), el("span", { class: "name" }, `${kinds[row.kind] ? `${kinds[row.kind]} ` : ""}${row.short}`), badge(row)),
  el("div", { class: "track", onmousemove: (event) => tip(event, row), onmouseleave: () => { byId("tip").hidden = true; } }, ...bars(row, width)));
}

function badge(row) {
  const tries = Math.max(row.attempts || 0, (row.undo || {}).attempts || 0);
  if (row.class === "stuck" || row.class === "unknown" || row.class === "failed") return el("span", { class: "badge" }, row.state + (tries > 1 ? ` ×${tries}` : ""));
  if (row.answered) return el("span", { class: "badge" }, "answered");
  return tries > 1 ? el("span", { class: "badge" }, `×${tries}`) : null;
}

const CLASS = { done: "done", failed: "failed", unknown: "unknown", skipped: "skipped", running: "open" };

function bars(row, width) {
  const scale = width / (app.view.to - app.view.from);
  const x = (moment) => (moment - app.view.from) * scale;
  const made = [];
  const bar = (from, to, kind) => {
    if (from === undefined || from === null || to === undefined || to === null) return;
    const left = Math.max(x(from), -20), right = Math.min(x(to), width + 20);
    if (right < -3 || left > width) return;
    made.push(el("i", { class: kind, style: { left: `${left}px`, width: `${Math.max(right - left, 0)}px` } }));
  };
  if (unwinding < app.view.to) {
    made.push(el("div", { class: "shade", style: { left: `${Math.max(x(unwinding), -2)}px`, width: `${width + 4 - Math.max(x(unwinding), -2)}px` } }));
  }
  execution(bar, row, row.group ? "group" : row.kind === "wait" || row.kind === "approval" ? "wait" : "", CLASS[row.outcome] || row.class);
  if (row.undo) execution(bar, row.undo, "undo", row.undo.class);
  for (const one of [row, row.undo || {}]) {
    for (const delay of one.delays || []) bar(delay.since, delay.until === undefined || delay.until === null ? whole.to : delay.until, "delay");
    for (const said of one.decisions || []) if (said.at >= app.view.from && said.at <= app.view.to) made.push(el("u", { style: { left: `${x(said.at)}px` } }));
  }
  label(row, row.undo && row.undo.asked !== undefined ? x(row.undo.asked) : width);
  if (row.undo) label(row.undo, width);
  return made;

  function label(one, room) {
    if (one.asked === undefined || one.ended === undefined) return;
    const left = Math.max(x(one.ended), x(one.asked) + 3) + 7;
    if (left > 0 && left + 56 < room) made.push(el("em", { style: { left: `${left}px` } }, length(one.ended - one.asked)));
  }
}

function execution(bar, one, kind, name) {
  for (const before of one.earlier || []) {
    bar(before.asked, before.began, `${before.attempts > 1 ? "tries" : "queue"} ${before.class}`);
    bar(before.began, before.ended, `${kind} ${before.class}`);
  }
  const last = (one.earlier || []).at(-1);
  const asked = last && last.ended !== null && last.ended > one.asked ? last.ended : one.asked;
  const began = one.began === undefined ? one.asked : one.began;
  const here = (one.attempts || 1) - (one.earlier || []).reduce((sum, before) => sum + before.attempts, 0);
  if (kind !== "group") bar(asked, began, `${here > 1 ? "tries" : "queue"} ${name}`);
  const goes = one.ended === undefined;
  bar(kind === "group" ? asked : began, goes ? (one.outcome === "running" ? whole.to : flow.ended || whole.to) : one.ended, `${kind} ${name}${goes ? " live" : ""}`);
}

function tip(event, row) {
  const box = byId("tip");
  const lines = [`${row.full}  ${row.state}`];
  if (row.asked !== undefined) lines.push(`asked for at ${length(row.asked)}${row.ended === undefined ? "" : `, took ${length(row.ended - row.asked)}`}`);
  if (row.attempts > 1) lines.push(`${row.attempts} attempts`);
  if (row.undo && row.undo.asked !== undefined) lines.push(`undo at ${length(row.undo.asked)}: ${row.undo.state}`);
  if (row.error) lines.push(row.error.at(-1).slice(0, 200));
  box.textContent = lines.join("\n");
  box.hidden = false;
  const right = event.clientX > innerWidth - 400;
  box.style.left = right ? "" : `${event.clientX + 14}px`;
  box.style.right = right ? `${innerWidth - event.clientX + 14}px` : "";
  box.style.top = `${Math.min(event.clientY + 14, innerHeight - 100)}px`;
}

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 144e5, 216e5, 432e5, 864e5, 1728e5, 6048e5];

function tick(at, step) {
  if (at === 0) return "0";
  if (step >= 6e4 || at < 6e4) return length(at).replace(/\.0+ s$/, " s");
  const seconds = ((at % 6e4) / 1000).toFixed(step < 10 ? 3 : step < 100 ? 2 : step < 1000 ? 1 : 0);
  const hours = Math.floor(at / 36e5), minutes = Math.floor((at % 36e5) / 6e4);
  return `${hours ? `${hours}:${String(minutes).padStart(2, "0")}` : minutes}:${seconds.padStart(seconds.includes(".") ? seconds.length - seconds.indexOf(".") + 2 : 2, "0")}`;
}

function paintTicks() {
  const ticks = byId("ticks"), width = trackWidth(), room = app.view.to - app.view.from;
  const step = STEPS.find((size) => (size / room) * width > 84) || room / 4;
  const made = [];
  for (let at = Math.ceil(app.view.from / step) * step; at < app.view.to; at += step) {
    made.push(el("span", { style: { left: `${((at - app.view.from) / room) * width}px` } }, tick(at, step)));
  }
  ticks.replaceChildren(...made);
}

function paintOverview() {
  const canvas = byId("overview"), ratio = devicePixelRatio || 1, width = trackWidth(), height = 34;
  const shows = `${app.view.from}/${app.view.to}/${width}/${ratio}`;
  if (shows === overview) return;
  overview = shows;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.width = `${width}px`;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const x = (moment) => (moment / whole.to) * width;
  const leaves = app.shown.map((index) => rows[index]).filter((row) => !row.group && row.asked !== undefined);
  const thick = Math.max(Math.min((height - 8) / Math.max(leaves.length, 1), 4), 1);
  leaves.forEach((row, place) => {
    const y = 4 + (place / Math.max(leaves.length, 1)) * (height - 8);
    for (const [one, name] of [[row, CLASS[row.outcome] || row.class], [row.undo, (row.undo || {}).class]]) {
      if (!one || one.asked === undefined) continue;
      pen.fillStyle = tone(name);
      pen.fillRect(x(one.asked), y, Math.max(x(one.ended === undefined ? whole.to : one.ended) - x(one.asked), 1), thick);
    }
  });
  const from = x(app.view.from), to = x(app.view.to);
  if (to - from < width - 1) {
    pen.fillStyle = tone("ground");
    pen.globalAlpha = 0.72;
    pen.fillRect(0, 0, from, height);
    pen.fillRect(to, 0, width - to, height);
    pen.globalAlpha = 1;
    pen.strokeStyle = tone("accent");
    pen.strokeRect(from + 0.5, 0.5, Math.max(to - from - 1, 1), height - 1);
  }
}

function look(from, to) {
  const least = Math.max(whole.to / 1e5, 0.5);
  let room = Math.min(Math.max(to - from, least), whole.to);
  const middle = (from + to) / 2;
  const start = Math.min(Math.max(middle - room / 2, 0), whole.to - room);
  app.view = { from: start, to: start + room };
  repaint();
}

function zoom(factor, around = 0.5) {
  const { from, to } = app.view, at = from + (to - from) * around;
  look(at - (at - from) * factor, at + (to - at) * factor);
}

function zoomTo(row) {
  const took = span(row);
  if (!took) return;
  const margin = Math.max((took.to - took.from) * 0.15, whole.to / 1e4);
  look(took.from - margin, took.to + margin);
}

function shift(part) {
  const room = app.view.to - app.view.from;
  const from = Math.min(Math.max(app.view.from + room * part, 0), whole.to - room);
  look(from, from + room);
}

function toggle(index) {
  if (app.folded.has(index)) app.folded.delete(index); else app.folded.add(index);
  relist();
}

function reveal(index) {
  let place = app.shown.indexOf(index);
  if (place < 0) {
    for (let up = rows[index].parent; up >= 0; up = rows[up].parent) app.folded.delete(up);
    relist();
    place = app.shown.indexOf(index);
  }
  if (place < 0) return;
  const top = place * HEIGHT;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + HEIGHT - list.clientHeight;
}

list.addEventListener("scroll", repaint, { passive: true });
list.addEventListener("wheel", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) {
    event.preventDefault();
    const left = list.getBoundingClientRect().left + (list.clientWidth - trackWidth());
    zoom(Math.exp(event.deltaY / 250), Math.min(Math.max((event.clientX - left) / trackWidth(), 0), 1));
  } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    event.preventDefault();
    shift((event.deltaX || event.deltaY) / trackWidth());
  }
}, { passive: false });

let pulled = null;
byId("overview").addEventListener("pointerdown", (event) => {
  pulled = (event.offsetX / trackWidth()) * whole.to;
  event.target.setPointerCapture(event.pointerId);
});
byId("overview").addEventListener("pointermove", (event) => {
  if (pulled === null) return;
  const at = Math.min(Math.max((event.offsetX / trackWidth()) * whole.to, 0), whole.to);
  if (Math.abs(at - pulled) > whole.to / 400) look(Math.min(at, pulled), Math.max(at, pulled));
});
byId("overview").addEventListener("pointerup", (event) => {
  const at = (event.offsetX / trackWidth()) * whole.to;
  if (pulled !== null && Math.abs(at - pulled) <= whole.to / 400) {
    const room = app.view.to - app.view.from;
    if (room < whole.to * 0.999) look(at - room / 2, at + room / 2);
  }
  pulled = null;
});
