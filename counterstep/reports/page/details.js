// One step, or the run itself, in all detail.
const panel = byId("details");

function facts(pairs) {
  const list = el("dl");
  for (const [name, value] of pairs) if (value !== undefined && value !== null && value !== "") list.append(el("dt", {}, name), el("dd", {}, String(value)));
  return list;
}

const TOKEN = /("(?:\\.|[^"\\])*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|\b(true|false|null)\b/g;

function json(text) {
  const made = el("pre", { tabindex: "0" });
  if (text.length > 200000) { made.textContent = text; return made; }
  let at = 0;
  for (const found of text.matchAll(TOKEN)) {
    made.append(text.slice(at, found.index));
    const kind = found[1] ? (found[2] ? "j-k" : "j-s") : found[3] ? "j-n" : "j-w";
    made.append(el("span", { class: kind }, found[1] || found[0]), found[2] || "");
    at = found.index + found[0].length;
  }
  made.append(text.slice(at));
  return made;
}

function value(title, text) {
  if (text === undefined || text === null) return [];
  const copy = el("button", { onclick: () => { navigator.clipboard && navigator.clipboard.writeText(text).then(() => { copy.textContent = "copied"; }); } }, "copy");
  return [el("h3", {}, title, copy), json(text)];
}

function failure(title, causes) {
  if (!causes) return [];
  return [el("h3", {}, title), ...causes.map((text, index) => el("div", { class: `bad${index ? " inner" : ""}` }, text))];
}

function times(one) {
  const last = one.ended === undefined || one.began === undefined || !(one.attempts > 1) ? "" : length(one.ended - one.began);
  return [
    ["asked for", one.asked === undefined ? "" : `${clock(one.asked)}  (+${length(one.asked)})`],
    ["started", one.began === undefined ? "" : clock(one.began)],
    ["ended", one.ended === undefined ? "" : clock(one.ended)],
    ["took", one.ended === undefined || one.asked === undefined ? "" : length(one.ended - one.asked)],
    ["attempts", one.attempts], ["last attempt", last],
    ["in the queue", one.attempts > 1 || one.began === undefined || one.asked === undefined || one.began - one.asked < 1 ? "" : length(one.began - one.asked)],
    ["worker", one.worker], ["series", one.series], ["key", one.key],
    ["skipped", one.skipped], ["answered by", one.answered], ["taken over from", one.taken], ["done by", one.by],
  ];
}

function executions(one) {
  if (!one.earlier) return [];
  const table = el("table", {}, el("tr", {}, ...["asked for", "took", "ended as", "why"].map((name) => el("th", {}, name))));
  for (const before of one.earlier) {
    const took = before.ended === null || before.began === null ? "" : length(before.ended - before.began);
    const tries = before.attempts > 1 ? `, ${before.attempts} attempts` : "";
    table.append(el("tr", {}, el("td", {}, before.asked === null ? "" : `+${length(before.asked)}`), el("td", {}, took), el("td", {}, before.outcome + tries), el("td", {}, before.error ? before.error.at(-1) : "")));
  }
  return [el("h3", {}, "Asked for before"), table];
}

function stood(one) {
  const made = [];
  for (const delay of one.delays || []) made.push(`${delay.why} ${delay.until === null ? "since" : `for ${length(delay.until - delay.since)}, from`} ${clock(delay.since)}`);
  return made.length ? [el("h3", {}, "Stood still"), ...made.map((line) => el("div", {}, line))] : [];
}

function said(one) {
  const made = [];
  for (const word of one.decisions || []) {
    made.push(el("div", {}, el("b", {}, word.action), `${word.by ? ` by ${word.by}` : ""}${word.reason ? `: ${word.reason}` : ""}  `, el("span", { class: "about" }, clock(word.at))));
    if (word.value) made.push(json(word.value));
  }
  return made.length ? [el("h3", {}, "An operator decided"), ...made] : [];
}

function told(one) {
  return [
    facts(times(one)), ...failure("Why", one.error), ...(one.before ? failure("The attempt before the last", one.before.slice(-1)) : []),
    ...said(one), ...stood(one), ...executions(one), ...value("Input", one.input), ...value("Output", one.output), ...value("Saved", one.saved),
  ];
}

function links(title, names) {
  const known = names.map((name) => rows.findIndex((row) => row.full === name)).filter((index) => index >= 0).slice(0, 60);
  if (!known.length) return [];
  return [el("h3", {}, title), el("div", { class: "links" }, ...known.map((index) => el("button", { onclick: () => pick(index, true) }, rows[index].full)))];
}

function showDetails(row) {
  const node = placed.get(row.full);
  const after = node ? boxes.filter((other) => other.after.includes(row.full)).map((other) => other.name) : [];
  const close = el("button", { "aria-label": "Close", onclick: () => pick(-1) }, "✕");
  panel.replaceChildren(
    el("div", { class: "top" }, el("h2", { tabindex: "-1" }, row.full), el("span", { class: `pill ${row.class}` }, row.state), close),
    el("div", { class: "about" }, [row.definition, row.about].filter(Boolean).join(" · ") || row.kind),
    ...told(row),
    ...(row.undo ? [el("div", { class: "undo" }, el("h3", {}, "Undo"), el("span", { class: `pill ${row.undo.class}` }, row.undo.state)), ...told({ ...row.undo, input: undefined })] : []),
    ...(row.parent >= 0 ? links("In", [rows[row.parent].full]) : []),
    ...links("Comes after", node ? node.after : []), ...links("Before", after),
  );
  panel.hidden = false;
  panel.scrollTop = 0;
}

function showRun() {
  panel.replaceChildren(
    el("div", { class: "top" }, el("h2", { tabindex: "-1" }, flow.id), el("span", { class: `pill ${flow.class}` }, flow.state), el("button", { "aria-label": "Close", onclick: () => pick(-1) }, "✕")),
    el("div", { class: "about" }, [flow.definition, flow.description].filter(Boolean).join(" · ")),
    facts(Object.entries(flow.facts)), ...told(flow),
  );
  panel.hidden = false;
}
