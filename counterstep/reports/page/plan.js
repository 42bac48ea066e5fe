// The plan as a picture: levels from left to right, folded into bands like lines of a text, drawn on a canvas.
const canvas = byId("picture");
const BOX = { width: 186, height: 40, gapX: 52, gapY: 16, band: 60 };
const boxes = data.nodes;
const camera = { x: 0, y: 0, scale: 1, set: false };
const placed = new Map(boxes.map((node) => [node.name, node]));

function arrange() {
  const levels = [];
  for (const node of boxes) (levels[node.level] = levels[node.level] || []).push(node);
  const columns = [];
  for (const level of levels.filter(Boolean)) {
    const order = new Map((columns.at(-1) || []).map((node, index) => [node.name, index]));
    const weight = (node) => {
      const known = node.after.map((name) => order.get(name)).filter((place) => place !== undefined);
      return known.length ? known.reduce((sum, place) => sum + place, 0) / known.length : Infinity;
    };
    const sorted = level.map((node, index) => [weight(node), index, node]).sort((a, b) => (a[0] === b[0] ? a[1] - b[1] : a[0] - b[0])).map((entry) => entry[2]);
    for (let from = 0; from < sorted.length; from += 24) columns.push(sorted.slice(from, from + 24));
  }
  const mean = boxes.length / Math.max(columns.length, 1);
  const shape = (1.8 * (mean * (BOX.height + BOX.gapY) + BOX.band)) / (BOX.width + BOX.gapX);
  const perBand = columns.length <= 10 ? columns.length : Math.max(8, Math.ceil(Math.sqrt(columns.length * shape)));
  let top = 0;
  for (let from = 0; from < columns.length; from += perBand) {
    const band = columns.slice(from, from + perBand);
    const tall = Math.max(...band.map((column) => column.length));
    band.forEach((column, index) => {
      const offset = ((tall - column.length) * (BOX.height + BOX.gapY)) / 2;
      column.forEach((node, row) => {
        node.x = index * (BOX.width + BOX.gapX);
        node.y = top + offset + row * (BOX.height + BOX.gapY);
      });
    });
    top += tall * (BOX.height + BOX.gapY) + BOX.band;
  }
}
arrange();
const extent = {
  width: Math.max(...boxes.map((node) => node.x), 0) + BOX.width, height: Math.max(...boxes.map((node) => node.y), 0) + BOX.height,
};

function fitPlan() {
  const width = canvas.clientWidth, height = canvas.clientHeight, room = 40;
  camera.scale = Math.min((width - 2 * room) / extent.width, (height - 2 * room - 20) / extent.height, 1.25);
  camera.scale = Math.max(camera.scale, 0.02);
  camera.x = (width - extent.width * camera.scale) / 2;
  camera.y = Math.max((height - 20 - extent.height * camera.scale) / 2, room / 2);
  camera.set = true;
}

function paintPlan() {
  if (!canvas.clientWidth) return;
  if (!camera.set) fitPlan();
  const ratio = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.translate(camera.x, camera.y);
  pen.scale(camera.scale, camera.scale);
  const paint = { line: tone("line"), ink: tone("ink"), soft: tone("soft"), dim: tone("dim"), panel: tone("raised"), accent: tone("accent"), edge: tone("idle") };
  for (const name of Object.keys(WORDS)) paint[name] = tone(name);
  const sight = { left: -camera.x / camera.scale, top: -camera.y / camera.scale };
  sight.right = sight.left + canvas.clientWidth / camera.scale;
  sight.bottom = sight.top + canvas.clientHeight / camera.scale;
  edges(pen, paint, sight);
  for (const node of boxes) {
    if (node.x + BOX.width < sight.left || node.x > sight.right || node.y + BOX.height < sight.top || node.y > sight.bottom) continue;
    box(pen, paint, node);
  }
}

function edges(pen, paint, sight) {
  const picked = app.picked >= 0 ? rows[app.picked].full : null;
  pen.lineWidth = Math.max(1.2, 0.6 / camera.scale);
  for (const strong of [false, true]) {
    pen.strokeStyle = strong ? paint.accent : paint.edge;
    pen.globalAlpha = strong || camera.scale > 0.28 ? 1 : 0.35;
    pen.beginPath();
    for (const node of boxes) {
      for (const name of node.after) {
        const before = placed.get(name);
        if (!before || strong !== (picked !== null && (node.name === picked || name === picked))) continue;
        const x1 = before.x + BOX.width, y1 = before.y + BOX.height / 2, x2 = node.x, y2 = node.y + BOX.height / 2;
        if (Math.max(x1, x2) < sight.left || Math.min(x1, x2) > sight.right || Math.max(y1, y2) < sight.top || Math.min(y1, y2) > sight.bottom) continue;
        curve(pen, x1, y1, x2, y2);
      }
    }
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

function curve(pen, x1, y1, x2, y2) {
  pen.moveTo(x1, y1);
  if (x2 > x1) {
    const bend = Math.min((x2 - x1) / 2, 70);
    pen.bezierCurveTo(x1 + bend, y1, x2 - bend, y2, x2, y2);
  } else {
    const middle = y2 > y1 ? y2 - (BOX.band + BOX.height) / 2 : (y1 + y2) / 2;
    pen.bezierCurveTo(x1 + 40, y1, x1 + 40, middle, x1 - 10, middle);
    pen.lineTo(x2 + 10, middle);
    pen.bezierCurveTo(x2 - 40, middle, x2 - 40, y2, x2, y2);
  }
  pen.moveTo(x2 - 6, y2 - 4);
  pen.lineTo(x2, y2);
  pen.lineTo(x2 - 6, y2 + 4);
}

function box(pen, paint, node) {
  const colour = paint[node.class], picked = node.row >= 0 && node.row === app.picked;
  const round = node.kind === "wait" || node.kind === "approval" ? BOX.height / 2 : 8;
  pen.beginPath();
  pen.roundRect(node.x, node.y, BOX.width, BOX.height, round);
  pen.fillStyle = paint.panel;
  pen.fill();
  pen.globalAlpha = node.class === "idle" ? 0 : 0.14;
  pen.fillStyle = colour;
  pen.fill();
  pen.globalAlpha = 1;
  pen.lineWidth = picked ? 3 : 1.4;
  pen.strokeStyle = picked ? paint.accent : colour;
  pen.setLineDash(node.class === "idle" ? [5, 4] : []);
  pen.stroke();
  pen.setLineDash([]);
  if (camera.scale < 0.28) {
    pen.globalAlpha = 0.55;
    pen.fillStyle = colour;
    pen.fill();
    pen.globalAlpha = 1;
    return;
  }
  if (node.kind === "subsaga" || node.kind === "child") {
    pen.lineWidth = 1;
    pen.strokeRect(node.x + 5, node.y, BOX.width - 10, BOX.height);
  }
  pen.fillStyle = node.class === "idle" ? paint.dim : paint.ink;
  pen.font = "600 13px system-ui, sans-serif";
  pen.fillText(cut(pen, node.name, BOX.width - 26), node.x + 13, node.y + 17);
  pen.fillStyle = node.class === "idle" ? paint.dim : colour;
  pen.font = "11px system-ui, sans-serif";
  pen.fillText(cut(pen, node.kind === "operation" ? node.state : `${node.kind} · ${node.state}`, BOX.width - 26), node.x + 13, node.y + 32);
}

function cut(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let kept = text;
  while (kept.length > 1 && pen.measureText(`…${kept}`).width > room) kept = kept.slice(Math.max(1, Math.ceil(kept.length / 12)));
  return `…${kept}`;
}

function nodeAt(event) {
  const x = (event.offsetX - camera.x) / camera.scale, y = (event.offsetY - camera.y) / camera.scale;
  return boxes.find((node) => x >= node.x && x <= node.x + BOX.width && y >= node.y && y <= node.y + BOX.height);
}

function zoomPlan(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const scale = Math.min(Math.max(camera.scale * factor, 0.02), 3), by = scale / camera.scale;
  Object.assign(camera, { scale, x: x - (x - camera.x) * by, y: y - (y - camera.y) * by });
  repaint();
}

function centre(row) {
  const node = placed.get(row.full);
  if (!node || !canvas.clientWidth) return;
  const left = node.x * camera.scale + camera.x, top = node.y * camera.scale + camera.y;
  if (camera.scale < 0.5) camera.scale = 0.9;
  else if (left > 20 && top > 20 && left + BOX.width * camera.scale < canvas.clientWidth - 20 && top + BOX.height * camera.scale < canvas.clientHeight - 20) return;
  camera.x = canvas.clientWidth / 2 - (node.x + BOX.width / 2) * camera.scale;
  camera.y = canvas.clientHeight / 2 - (node.y + BOX.height / 2) * camera.scale;
}

let dragged = null;
canvas.addEventListener("pointerdown", (event) => { dragged = { x: event.clientX, y: event.clientY, moved: false }; canvas.setPointerCapture(event.pointerId); });
canvas.addEventListener("pointermove", (event) => {
  if (!dragged) { canvas.style.cursor = (nodeAt(event) || { row: -1 }).row >= 0 ? "pointer" : "grab"; return; }
  const dx = event.clientX - dragged.x, dy = event.clientY - dragged.y;
  if (!dragged.moved && Math.abs(dx) + Math.abs(dy) < 5) return;
  Object.assign(dragged, { x: event.clientX, y: event.clientY, moved: true });
  camera.x += dx;
  camera.y += dy;
  repaint();
});
canvas.addEventListener("pointerup", (event) => {
  const node = dragged && !dragged.moved ? nodeAt(event) : null;
  dragged = null;
  if (node && node.row >= 0) pick(node.row, true);
});
canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoomPlan(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY); }, { passive: false });
