// Time lines by uPlot, in the colours of the page.
import { h } from "./dom.js";
import { day, measure, moment, number, probability, stateName, time, timeSeconds } from "./format.js";

const DASHES = [[], [6, 4], [2, 3], [9, 3, 2, 3]];
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
/** The colour of a class: grey for normal, others from a palette that people with colour blindness can tell apart. */
export const classColour = (index, name) => (name === "normal" ? css("normal") : css(`line-${((index + 6) % 7) + 1}`));
const kindColour = (kind) => css(kind === "normal" || kind === "none" ? "surface" : kind);

function axes(format) {
  const common = { stroke: css("quiet"), grid: { stroke: css("rule"), width: 1 }, ticks: { stroke: css("rule"), width: 1 }, font: "12px system-ui, sans-serif" };
  return [
    { ...common, space: 70, values: (_, splits, __, ___, step) => splits.map((s, i) => {
      if (s === null) return "";
      const [ms, before] = [s * 1000, i ? splits[i - 1] * 1000 : null];
      if (step >= 86400) return day(ms);
      const text = step < 60 ? timeSeconds(ms) : time(ms);
      return before === null || day(before) !== day(ms) ? `${text}\n${day(ms)}` : text;
    }) },
    { ...common, size: 60, space: 22, values: (_, splits) => splits.map(format) },
  ];
}

/** A chart in `place` that follows its width; gives what ends it. */
function chart(place, options, data, label, readout) {
  const box = h("div", { class: "chart", role: "img", "aria-label": label });
  const line = h("p", { class: "readout quiet" });
  place.append(box, line);
  const width = () => Math.max(box.clientWidth, 200);
  line.textContent = readout(null);
  const plot = new uPlot({
    ...options, width: width(), legend: { show: false }, cursor: { y: false, points: { size: 6 }, drag: { setScale: false, x: false } },
    hooks: { ...options.hooks, setCursor: [(u) => { line.textContent = readout(u.cursor.idx); }] },
  }, data, box);
  const sized = new ResizeObserver(() => plot.setSize({ width: width(), height: options.height }));
  sized.observe(box);
  return () => { sized.disconnect(); plot.destroy(); };
}

/** Class probabilities, with a band of alarm states on top and one of verdicts below; a click names a moment. */
export function probabilities(place, history, alarms, [from, to], label, onMoment) {
  const seconds = history.time_ms.map((ms) => ms / 1000);
  const series = history.classes.map((name, i) => ({ label: name, stroke: classColour(i, name), width: 1.6, dash: DASHES[Math.floor(i / 7) % 4],
    points: { show: seconds.length < 80, size: 4 } }));
  const legend = h("ul", { class: "legend" }, history.classes.map((name, i) => h("li", {}, h("span", { class: "swatch", "aria-hidden": "true",
    vars: { colour: classColour(i, name) } }), stateName(name))));
  place.append(legend);
  const BAND = 8;
  function bands(u) {
    const { ctx, bbox } = u;
    const ratio = devicePixelRatio;
    const x = (ms) => Math.min(Math.max(u.valToPos(ms / 1000, "x", true), bbox.left), bbox.left + bbox.width);
    ctx.save();
    for (const { kind, since_ms, until_ms } of alarms) {
      ctx.fillStyle = kindColour(kind);
      const [left, right] = [x(since_ms), x(until_ms ?? to)];
      ctx.fillRect(left, bbox.top - BAND * ratio - 2, Math.max(right - left, since_ms >= from && since_ms <= to ? 2 : 0), BAND * ratio);
    }
    const steps = history.time_ms;
    const typical = steps.length > 1 ? median(steps.slice(1).map((ms, i) => ms - steps[i])) : 60_000;
    steps.forEach((ms, i) => {
      const name = history.classes[history.fault[i]];
      ctx.fillStyle = name === "normal" ? css("rule") : classColour(history.fault[i], name);
      const left = x(Math.max(ms - Math.min(i ? ms - steps[i - 1] : typical, 3 * typical), from));
      ctx.fillRect(left, bbox.top + bbox.height - BAND * ratio, Math.max(x(ms) - left, 1), BAND * ratio);
    });
    ctx.restore();
  }
  const close = chart(place, {
    height: 260, padding: [18, 30, 0, 0], scales: { x: { range: [from / 1000, to / 1000] }, y: { range: [-0.06, 1.02] } },
    axes: axes((value) => (value === null || value < 0 ? "" : probability(value))), series: [{}, ...series], hooks: { draw: [bands] },
  }, [seconds, ...history.probabilities], label, (i) => (i === null ? "" : `${moment(history.time_ms[i])}: ${history.classes
    .map((name, k) => `${stateName(name)} ${probability(history.probabilities[k][i])}`).join(" · ")}`));
  const box = place.querySelector(".u-over");
  box.addEventListener("click", (event) => {
    const { left, width } = box.getBoundingClientRect();
    onMoment(Math.round(from + ((event.clientX - left) / width) * (to - from)));
  });
  return close;
}

/** One channel as it was received, with a mark at a moment. */
export function channel(place, history, index, [from, to], at, label) {
  const seconds = history.time_ms.map((ms) => ms / 1000);
  const values = history.values[index];
  const colour = css(`line-${(index % 7) + 1}`);
  function mark(u) {
    const { ctx, bbox } = u;
    const x = u.valToPos(at / 1000, "x", true);
    ctx.save();
    ctx.strokeStyle = css("fault");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }
  return chart(place, {
    height: 140, padding: [8, 30, 0, 0], scales: { x: { range: [from / 1000, to / 1000] } }, axes: axes((value) => measure(value)),
    series: [{}, { label: history.channels[index], stroke: colour, width: 1.4, spanGaps: true, points: { show: seconds.length < 80, size: 4 } }], hooks: { draw: [mark] },
  }, [seconds, values], label, (i) => (i === null || values[i] === null || values[i] === undefined ? "" : `${moment(history.time_ms[i])}: ${measure(values[i])}`));
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] || 1000;
}
export const summary = (history) => {
  const votes = new Map();
  for (const k of history.fault) votes.set(k, (votes.get(k) ?? 0) + 1);
  return [...votes].map(([k, n]) => `${stateName(history.classes[k])} ${number(n)}`).join(", ");
};
