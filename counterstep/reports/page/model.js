// What is shown: the report's rows, which of them the filter and the folds leave, and which part of the time.
const data = JSON.parse(byId("data").textContent);
const rows = data.rows;
const flow = data.flow;
zero.at = flow.zero ? Date.parse(flow.zero) - (flow.began || 0) : 0;

const settled = (row) => [row, row.undo, ...(row.earlier || []), ...((row.undo || {}).earlier || [])].filter(Boolean);

function moments(row) {
  const found = [];
  for (const one of settled(row)) found.push(one.asked, one.began, one.ended);
  for (const one of [...(row.delays || []), ...((row.undo || {}).delays || [])]) found.push(one.since, one.until);
  for (const one of [...(row.decisions || []), ...((row.undo || {}).decisions || [])]) found.push(one.at);
  return found.filter((moment) => moment !== undefined && moment !== null);
}

const whole = { from: 0, to: flow.ended || 0 };
for (const row of rows) for (const moment of moments(row)) whole.to = Math.max(whole.to, moment);
for (const decision of flow.decisions || []) whole.to = Math.max(whole.to, decision.at || 0);
whole.to = Math.max(whole.to, 1);
whole.open = flow.ended === undefined;
whole.to *= whole.open ? 1.03 : 1.012;

const unwinding = Math.min(...rows.map((row) => (row.undo && row.undo.asked !== undefined ? row.undo.asked : Infinity)));

rows.forEach((row, index) => {
  row.index = index;
  row.short = row.full.slice(row.full.lastIndexOf("/") + 1);
  row.group = row.kind === "flow" || row.kind === "subsaga" || row.kind === "leg" || row.kind === "child";
});
rows.forEach((row) => {
  row.parent = -1;
  for (let index = row.index - 1; index >= 0 && row.depth > 0; index--) {
    if (rows[index].depth < row.depth) { row.parent = index; break; }
    if (rows[index].parent >= 0 && rows[index].depth === row.depth) { row.parent = rows[index].parent; break; }
  }
});

const app = {
  shown: [], picked: -1, folded: new Set(), words: "", classes: new Set(), tab: "timeline",
  view: { from: whole.from, to: whole.to },
};

function fits(row) {
  if (app.classes.size && !app.classes.has(row.class)) return false;
  if (!app.words) return true;
  const text = `${row.full} ${row.definition || ""} ${row.state} ${(row.error || []).join(" ")}`.toLowerCase();
  return app.words.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function choose() {
  const filtered = app.words || app.classes.size;
  const shown = [];
  for (let index = 0; index < rows.length; index++) {
    if (!filtered || fits(rows[index])) shown.push(index);
    if (!filtered && app.folded.has(index)) index += rows[index].size;
  }
  app.shown = shown;
}

function span(row) {
  const times = moments(row);
  if (!times.length) return null;
  const to = row.ended === undefined && row.outcome === "running" ? whole.to : Math.max(...times);
  return { from: Math.min(...times), to };
}

function counted() {
  const counts = new Map();
  for (const row of rows) if (!row.group) counts.set(row.class, (counts.get(row.class) || 0) + 1);
  return counts;
}

const WORDS = {
  done: "done", failed: "failed", unknown: "unknown", skipped: "skipped", undone: "undone",
  stuck: "need a human", open: "at work", idle: "not started",
};
