// Where a chart's values, lines and numbers stand, and how they are written: nothing here knows the page.

const LEFT = 48, RIGHT = 392, TOP = 16.1, BOTTOM = 190.9; // of the axes, in a drawing of 400 x 230

// Places of the values within a range, and of one more on either side, to which the line goes on.
function visible(curve, from, to) {
  const first = Math.max(curve.x.findIndex((x) => x >= from) - 1, 0);
  const after = curve.x.findIndex((x) => x > to);
  const last = after < 0 ? curve.x.length - 1 : after;
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

function path(curve, places, px, py) {
  const gaps = curve.gaps || [];
  let gap = 0;
  return places.map((i) => {
    let broken = i === places[0];
    for (; gap < gaps.length && gaps[gap] < curve.x[i]; gap++) broken = broken || gaps[gap] > curve.x[i - 1];
    return (broken ? "M" : "L") + at(px(curve.x[i]), py(curve.line[i]));
  }).join("");
}

function withoutOutliers(values) {
  if (values.length <= 50) return values;
  const sorted = values.slice().sort((a, b) => a - b);
  return [sorted[Math.floor(0.01 * (sorted.length - 1))], sorted[Math.ceil(0.99 * (sorted.length - 1))]];
}

function nearest(curve, update) {
  let best = 0;
  curve.x.forEach((x, i) => { if (Math.abs(x - update) < Math.abs(curve.x[best] - update)) best = i; });
  return best;
}

function axes({ x0, x1, y0, y1, log }, px, py) {
  const lines = [], words = [];
  for (const { value, text } of log ? powers(10 ** y0, 10 ** y1) : ticks(y0, y1, 5, false)) {
    lines.push(`<path d="M${LEFT} ${py(value).toFixed(1)}H${RIGHT}" stroke="var(--rule)"/>`);
    words.push(`<text x="${LEFT - 6}" y="${(py(value) + 4).toFixed(1)}" text-anchor="end">${text}</text>`);
  }
  for (const { value, text } of ticks(x0, x1, 6, true)) {
    lines.push(`<path d="M${px(value).toFixed(1)} ${BOTTOM}v3.5" stroke="var(--soft)"/>`);
    words.push(`<text x="${px(value).toFixed(1)}" y="${BOTTOM + 16}" text-anchor="middle">${text}</text>`);
  }
  lines.push(`<path d="M${LEFT} ${BOTTOM}H${RIGHT}" stroke="var(--soft)"/>`);
  words.push(`<text x="${RIGHT}" y="${BOTTOM + 33}" text-anchor="end">update</text>`);
  return `<g stroke-width="1">${lines.join("")}</g><g fill="var(--soft)">${words.join("")}</g>`;
}

function ticks(from, to, most, whole) {
  const power = 10 ** Math.floor(Math.log10((to - from) / most));
  let step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => (to - from) / size <= most);
  if (whole) step = Math.max(step, 1);
  const made = [];
  for (let i = Math.ceil(from / step - 1e-9); i * step <= to + 1e-9 * step; i++) {
    made.push({ value: i * step, text: whole ? thousands(i * step) : tickText(i * step, step, Math.max(-from, to)) });
  }
  return made;
}

// Round numbers of a logarithmic axis.
function powers(from, to) {
  const first = Math.floor(Math.log10(from)), last = Math.ceil(Math.log10(to));
  const orders = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const all = (factors) => orders.flatMap((order) => factors.map((factor) => +`${factor}e${order}`));
  const of = (factors) => all(factors).filter((y) => y >= from && y <= to);
  const values = [[1, 2, 5], [1]].map(of).find((some) => some.length <= 7) || of([1]);
  return values.length < 2 ? ticks(from, to, 5, false) : values.map((value) => ({ value, text: number(value) }));
}

function thousands(value) {
  const [size, unit] = value >= 1e6 ? [1e6, "M"] : value >= 1e4 ? [1e3, "k"] : [1, ""];
  return `${+(value / size).toFixed(3)}${unit}`;
}

function tickText(value, step, largest) {
  if (value && (largest >= 1e5 || step < 1e-4)) {
    return value.toExponential(Math.max(Math.floor(Math.log10(Math.abs(value) / step) + 0.01), 0));
  }
  return value.toFixed(Math.min(Math.max(-Math.floor(Math.log10(step) + 1e-9), 0), 9)).replace("-", "−");
}

function number(value) {
  return String(+value.toPrecision(4)).replace("-", "−");
}

function at(x, y) {
  return `${x.toFixed(1)} ${y.toFixed(1)}`;
}
