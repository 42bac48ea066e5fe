// Making elements. Every value becomes a text node or a property: nothing is ever parsed as HTML.
const byId = (id) => document.getElementById(id);

function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(made.style, value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

function length(ms) {
  if (ms === undefined || ms === null) return "";
  if (ms < 1) return "<1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60e3) return `${(ms / 1000).toFixed(ms < 10e3 ? 2 : 1)} s`;
  const parts = [["d", 864e5], ["h", 36e5], ["min", 6e4], ["s", 1000]];
  const first = parts.findIndex(([, size]) => ms >= size);
  return parts.slice(first, first + 2).map(([unit, size], index) => {
    const count = Math.floor((index ? ms % parts[first][1] : ms) / size);
    return index && !count ? "" : `${count} ${unit}`;
  }).join(" ").trim();
}

const zero = { at: 0 };

function clock(ms) {
  return ms === undefined || ms === null ? "" : new Date(zero.at + ms).toISOString().replace("T", " ").replace("Z", " UTC");
}

const tones = new Map(); // of the theme, by name: asking the style for each bar is slow

function tone(name) {
  if (!tones.has(name)) tones.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return tones.get(name);
}

function number(count, what) {
  return `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;
}
