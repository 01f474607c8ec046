// The page's charts answer to a reader: pointing shows values, dragging zooms all charts to a range of updates, a click
// on a name in a legend hides its curve. Without this script the page has the same charts, as matplotlib drew them.
// Needs chart_axes.js.

const COLORS = 8; // --c0 to --c7
const SMOOTHING = { none: 0, light: 0.3, usual: 1, strong: 3, "very strong": 10 }; // times the usual span
const MEMORY = `charts of ${location.pathname}`; // of this tab: a page that is loaded anew goes on as it was
const view = { from: null, to: null, smoothing: "usual", log: false, hidden: {}, ...remembered() };
const charts = [...document.querySelectorAll("svg[data-curves]")].map(chart);
const bar = charts.length ? toolbar() : null;
update();

// ---- what is drawn

function chart(svg, place) {
  const { curves, style, zero, floor } = JSON.parse(svg.dataset.curves);
  curves.forEach((curve) => {
    if (curve && typeof curve.x === "number") curve.x = curves[curve.x].x;
  });
  const figure = svg.closest("figure");
  const title = svg.getAttribute("aria-label");
  const keys = [...figure.querySelectorAll(".legend > span")];
  const made = {
    svg, style, zero, floor, figure, title,
    id: `clip${place}`,
    tip: addTip(svg),
    cursor: null, // an update
    limits: null,
    curves: curves.map((curve, i) => ({
      ...(curve || { x: [], y: [] }),
      name: keys.length ? keys[i].textContent : title,
      color: `var(--c${i % COLORS})`,
    })),
  };
  keys.forEach((key, i) => makeSwitch(made, key, i));
  listen(made);
  return made;
}

function shown(chart) {
  const hidden = view.hidden[chart.title] || [];
  return chart.curves.filter((curve) => curve.x.length && !hidden.includes(curve.name));
}

function draw(chart) {
  const lineOf = (curve) => (chart.style === "smooth" ? averages(curve) : curve.y);
  const curves = shown(chart).map((curve) => ({ ...curve, line: lineOf(curve) }));
  chart.limits = limitsOf(chart, curves);
  const { x0, x1, y0, y1, log } = chart.limits;
  const px = (x) => LEFT + ((x - x0) / (x1 - x0)) * (RIGHT - LEFT);
  const py = (y) => BOTTOM - (((log ? Math.log10(y) : y) - y0) / (y1 - y0)) * (BOTTOM - TOP);
  const within = (y) => Math.min(Math.max(py(y), TOP), BOTTOM); // outliers lie on the border
  Object.assign(chart, { px, within });
  const parts = [`<title>${chart.svg.querySelector("title").innerHTML}</title>`, axes(chart.limits, px, py)];
  const frame = `M${LEFT - 3} 10H${RIGHT + 3}V${BOTTOM + 3}H${LEFT - 3}z`;
  parts.push(`<clipPath id="${chart.id}"><path d="${frame}"/></clipPath>`);
  parts.push(`<g clip-path="url(#${chart.id})" fill="none" stroke-width="2">`);
  if (chart.zero) {
    parts.push(`<path d="M${LEFT} ${py(0)}H${RIGHT}" stroke="var(--soft)" stroke-width="1" stroke-dasharray="1 2"/>`);
  }
  for (const curve of curves) {
    const stroke = `stroke="${curve.color}"`;
    const places = visible(curve, x0, x1);
    if (chart.style === "smooth") {
      const width = places.length < 60 ? 6 : 3.5;
      const dots = places.map((i) => `M${at(px(curve.x[i]), within(curve.y[i]))}h0`).join("");
      const look = `stroke-width="${width}" stroke-linecap="round" opacity="${width > 5 ? 0.5 : 0.3}"`;
      parts.push(`<path d="${dots}" ${stroke} ${look}/>`);
    }
    if (curve.errors) {
      const upper = places.map((i) => at(px(curve.x[i]), py(curve.y[i] + curve.errors[i])));
      const lower = places.map((i) => at(px(curve.x[i]), py(curve.y[i] - curve.errors[i]))).reverse();
      parts.push(`<path d="M${upper.concat(lower).join("L")}z" fill="${curve.color}" opacity="0.16"/>`);
    }
    const dashes = curve.dashes ? ` stroke-dasharray="${curve.dashes}"` : "";
    parts.push(`<path d="${path(curve, places, px, py)}" ${stroke}${dashes}/>`);
    if (chart.style === "marks" || places.length === 1) {
      const dots = places.map((i) => `M${at(px(curve.x[i]), py(curve.line[i]))}h0`).join("");
      parts.push(`<path d="${dots}" ${stroke} stroke-width="7" stroke-linecap="round"/>`);
    }
  }
  chart.svg.innerHTML = `${parts.join("")}</g><g class="cursor"></g>`;
  drawCursor(chart);
}

// A bias-corrected exponential running average, as the page's is.
function averages(curve) {
  const span = curve.span * SMOOTHING[view.smoothing];
  if (span <= 1) return curve.y;
  const kept = 1 - 2 / (span + 1);
  let sum = 0, weight = 0;
  return curve.y.map((y) => {
    sum = sum * kept + y;
    weight = weight * kept + 1;
    return sum / weight;
  });
}

function limitsOf(chart, curves) {
  const updates = chart.curves.flatMap((curve) => curve.x);
  let x0 = Math.max(Math.min(...updates), view.from ?? -Infinity);
  let x1 = Math.min(Math.max(...updates), view.to ?? Infinity);
  if (!(x1 > x0)) [x0, x1] = [x0 - 1, x0 + 1];
  let low = Infinity, high = -Infinity;
  const take = (values) => values.forEach((value) => { low = Math.min(low, value); high = Math.max(high, value); });
  for (const curve of curves) {
    const places = visible(curve, x0, x1);
    take(places.map((i) => curve.line[i]));
    if (curve.errors) take(places.flatMap((i) => [curve.y[i] - curve.errors[i], curve.y[i] + curve.errors[i]]));
    if (chart.style === "smooth") take(withoutOutliers(places.map((i) => curve.y[i])));
  }
  if (!(high >= low)) [low, high] = [0.1, 1];
  const positive = curves.every((curve) => curve.y.every((y, i) => y - (curve.errors ? curve.errors[i] : 0) > 0));
  if (view.log && !chart.zero && positive) {
    [low, high] = [Math.log10(low), Math.log10(high)];
    const rest = (high - low) * 0.04 || 0.05;
    return { x0, x1, y0: low - rest, y1: high + rest, log: true };
  }
  const lowest = low;
  const room = high > low ? (high - low) * 0.04 : Math.abs(high) * 0.05 || 0.05;
  [low, high] = [low - room, high + room];
  if (chart.zero) [low, high] = [-Math.max(-low, high, 1e-6), Math.max(-low, high, 1e-6)];
  else if (chart.floor !== null) low = Math.min(chart.floor, lowest);
  return { x0, x1, y0: low, y1: high, log: false };
}

// ---- what a reader points at

function addTip(svg) {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("role", "status");
  svg.after(tip);
  return tip;
}

function point(chart, update) {
  chart.cursor = update;
  drawCursor(chart);
}

function drawCursor(chart) {
  const group = chart.svg.querySelector(".cursor");
  const curves = shown(chart);
  chart.tip.hidden = chart.cursor === null || !curves.length;
  if (chart.tip.hidden) return void (group.innerHTML = "");
  const { x0, x1 } = chart.limits;
  const inside = Math.min(Math.max(chart.cursor, x0), x1);
  const places = curves.map((curve) => nearest(curve, inside));
  const updates = curves.map((curve, i) => curve.x[places[i]]);
  const middle = updates.reduce((a, b) => (Math.abs(b - inside) < Math.abs(a - inside) ? b : a));
  const lines = curves.map((curve) => (chart.style === "smooth" ? averages(curve) : curve.y));
  const dots = curves.map((curve, i) => {
    const y = chart.within(lines[i][places[i]]);
    const dot = `M${at(chart.px(updates[i]), y)}h0`;
    return `<path d="${dot}" stroke="${curve.color}" stroke-width="9" stroke-linecap="round"/>`;
  });
  group.innerHTML = `<path d="M${chart.px(middle).toFixed(1)} ${TOP}V${BOTTOM}" stroke="var(--soft)"/>${dots.join("")}`;
  chart.tip.replaceChildren(...tipLines(chart, curves, places, lines, middle));
  const side = chart.px(middle) > (LEFT + RIGHT) / 2;
  const share = (chart.px(middle) / 400) * (chart.svg.getBoundingClientRect().width || 1);
  chart.tip.style.cssText = side ? `right:calc(100% - ${share - 8}px)` : `left:${share + 8}px`;
}

function tipLines(chart, curves, places, lines, middle) {
  const head = document.createElement("b");
  head.textContent = `update ${middle}`;
  const rows = curves.map((curve, i) => {
    const row = document.createElement("div");
    const value = curve.y[places[i]], average = lines[i][places[i]];
    const band = curve.errors ? ` ± ${number(curve.errors[places[i]])}` : "";
    const elsewhere = curve.x[places[i]] === middle ? "" : ` (update ${curve.x[places[i]]})`;
    const smoothed = average === value ? "" : `, average ${number(average)}`;
    const name = curves.length > 1 || chart.curves.length > 1 ? `${curve.name}: ` : "";
    row.textContent = `${name}${number(value)}${band}${smoothed}${elsewhere}`;
    row.style.setProperty("--c", curve.color);
    return row;
  });
  return [head, ...rows];
}

function listen(chart) {
  const { svg } = chart;
  const label = svg.closest("label"), box = label.querySelector("input");
  let start = null, dragged = false;
  const updateAt = (event) => {
    const area = svg.getBoundingClientRect();
    const x = ((event.clientX - area.left) / area.width) * 400;
    const { x0, x1 } = chart.limits;
    return x0 + ((Math.min(Math.max(x, LEFT), RIGHT) - LEFT) / (RIGHT - LEFT)) * (x1 - x0);
  };
  svg.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    start = { x: event.clientX, update: updateAt(event) };
    dragged = false;
  });
  svg.addEventListener("pointermove", (event) => {
    const update = updateAt(event);
    point(chart, update);
    if (!start || !event.buttons || Math.abs(event.clientX - start.x) < 6) return;
    dragged = true;
    svg.setPointerCapture(event.pointerId);
    const [from, to] = [start.update, update].sort((a, b) => a - b).map(chart.px);
    const band = `M${at(from, TOP)}H${to.toFixed(1)}V${BOTTOM}H${from.toFixed(1)}z`;
    const shade = `<path d="${band}" fill="var(--link)" opacity="0.2"/>`;
    svg.querySelector(".cursor").insertAdjacentHTML("beforeend", shade);
  });
  svg.addEventListener("pointerup", (event) => {
    if (start && dragged) zoom(...[start.update, updateAt(event)].sort((a, b) => a - b));
    start = null;
  });
  svg.addEventListener("pointercancel", () => { start = null; dragged = false; });
  svg.addEventListener("pointerleave", () => { if (!start) point(chart, null); });
  label.addEventListener("click", (event) => {
    if (dragged) event.preventDefault(); // it zooms, and does not enlarge the chart
    dragged = false;
  });
  box.addEventListener("keydown", (event) => keys(chart, event));
  box.addEventListener("change", () => drawCursor(chart));
  box.addEventListener("blur", () => point(chart, null));
}

function keys(chart, event) {
  const curve = shown(chart)[0];
  if (!curve || event.ctrlKey || event.altKey || event.metaKey) return;
  const { x0, x1 } = chart.limits;
  const place = chart.cursor === null ? null : nearest(curve, chart.cursor);
  const go = (to) => point(chart, curve.x[Math.min(Math.max(to, 0), curve.x.length - 1)]);
  const stride = event.shiftKey ? 10 : 1;
  const middle = chart.cursor ?? (x0 + x1) / 2;
  const scaled = (factor) => zoom(middle - (middle - x0) * factor, middle + (x1 - middle) * factor);
  const actions = {
    ArrowLeft: () => go(place === null ? nearest(curve, x1) : place - stride),
    ArrowRight: () => go(place === null ? nearest(curve, x0) : place + stride),
    Home: () => go(nearest(curve, x0)),
    End: () => go(nearest(curve, x1)),
    "+": () => scaled(0.5),
    "=": () => scaled(0.5),
    "-": () => scaled(2),
    0: () => zoom(null, null),
    Escape: () => (chart.cursor === null ? zoom(null, null) : point(chart, null)),
  };
  if (!(event.key in actions)) return;
  event.preventDefault();
  actions[event.key]();
}

// ---- what a reader chooses

function makeSwitch(chart, key, place) {
  const { name } = chart.curves[place];
  const button = document.createElement("button");
  button.type = "button";
  button.append(...key.childNodes);
  const tell = () => button.setAttribute("aria-pressed", !(view.hidden[chart.title] || []).includes(name));
  button.addEventListener("click", () => {
    const hidden = view.hidden[chart.title] || [];
    view.hidden[chart.title] = hidden.includes(name) ? hidden.filter((other) => other !== name) : [...hidden, name];
    tell();
    draw(chart);
    remember();
  });
  tell();
  key.replaceWith(button);
}

function wholeRange() {
  const ends = (curve) => (curve.x.length ? [curve.x[0], curve.x.at(-1)] : []);
  const updates = charts.flatMap((chart) => chart.curves.flatMap(ends));
  return [Math.min(...updates), Math.max(...updates)];
}

function zoom(from, to) {
  const [first, last] = wholeRange();
  const whole = from === null || (from <= first && to >= last);
  if (!whole && to - from < 1) return;
  view.from = whole ? null : Math.max(Math.round(from), first);
  view.to = whole ? null : Math.min(Math.max(Math.round(to), view.from + 1), last);
  update();
}

function toolbar() {
  const form = document.createElement("form");
  form.className = "bar";
  form.innerHTML =
    '<label>Smoothing <select name="smoothing"></select></label>' +
    '<label><input name="log" type="checkbox"> log scale</label>' +
    '<label>Updates <input name="from" type="number" inputmode="numeric"></label>' +
    '<label>to <input name="to" type="number" inputmode="numeric"></label><button type="button">Whole range</button>' +
    "<details><summary>How to use the charts</summary><p>Point at a chart for values. " +
    "Drag across one to zoom all to these updates. Click on a name below one to hide its curve. Click on a chart to " +
    "enlarge it. Keys on a chart: ← → (10 values with Shift), Home and End move along the curve, + − zoom, 0 shows " +
    "the whole range, Space enlarges. The log scale is for charts of positive values. " +
    "Long curves have at most 600 of their values here.</p></details>";
  const { smoothing, log, from, to } = form.elements;
  smoothing.append(...Object.keys(SMOOTHING).map((name) => new Option(name, name)));
  smoothing.addEventListener("change", () => { view.smoothing = smoothing.value; update(); });
  log.addEventListener("change", () => { view.log = log.checked; update(); });
  const typed = () => {
    const [first, last] = wholeRange();
    zoom(from.value === "" ? first : +from.value, to.value === "" ? last : +to.value);
  };
  from.addEventListener("change", typed);
  to.addEventListener("change", typed);
  form.querySelector("button").addEventListener("click", () => zoom(null, null));
  form.addEventListener("submit", (event) => event.preventDefault());
  document.querySelector("header").after(form);
  return form;
}

function update() {
  charts.forEach(draw);
  if (!bar) return;
  const [first, last] = wholeRange();
  bar.elements.smoothing.value = view.smoothing;
  bar.elements.log.checked = view.log;
  bar.elements.from.value = view.from ?? first;
  bar.elements.to.value = view.to ?? last;
  bar.querySelector("button").disabled = view.from === null;
  remember();
}

function remembered() {
  try {
    const stored = JSON.parse(sessionStorage.getItem(MEMORY)) || {};
    return stored.smoothing in SMOOTHING ? stored : {};
  } catch {
    return {}; // storage is off, or holds something else
  }
}

function remember() {
  try {
    sessionStorage.setItem(MEMORY, JSON.stringify(view));
  } catch {
    return; // what is not remembered is chosen anew
  }
}
