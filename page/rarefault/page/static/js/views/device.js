// One device: how it is, what moved its alarm, its verdicts over days, its channels around a moment, people's answers.
import { ask } from "../api.js";
import { channel, probabilities, summary } from "../charts.js";
import { fill, h } from "../dom.js";
import { ageOf, answerText, badge, contribution, duration, measure, meter, moment, momentOf, number } from "../format.js";
import { t } from "../texts.js";
import { moved } from "./alarms.js";

const HOUR = 3_600_000;
const SPANS = [["hours6", 6 * HOUR], ["day1", 24 * HOUR], ["days7", 168 * HOUR], ["days30", 720 * HOUR]];
const AROUND = [HOUR / 6, HOUR, 6 * HOUR, 24 * HOUR];
const SHOWN = 6;

export function deviceView(main, name, _query, attempt) {
  let device = null;
  let span = 24 * HOUR;
  let to = null; // null: the newest
  let at = null; // null: the last alarm
  let around = HOUR;
  let chosen = null; // channels; null: those that moved the alarm
  const charts = { line: [], raw: [] };
  let drawn = 0; // until when the time line is drawn
  const turn = { line: 0, raw: 0 }; // an answer that comes after a later question is not drawn

  const head = h("div", { class: "now" });
  const reasons = h("section", { "aria-label": t("what"), hidden: true });
  const line = h("div");
  const lineNote = h("p", { class: "quiet", role: "status" });
  const raw = h("div", { class: "channels" });
  const rawNote = h("p", { class: "quiet", role: "status" });
  const picker = h("div", { class: "picker" });
  const states = h("tbody");
  const statesNote = h("p", { class: "quiet" });
  const answers = h("div");
  const dayInput = h("input", { type: "date", id: "day", on: { change: () => {
    const chosenDay = new Date(`${dayInput.value}T23:59:59`);
    if (!Number.isNaN(chosenDay.getTime())) move(chosenDay.getTime());
  } } });
  const spanSelect = select("span", SPANS.map(([key, ms]) => [ms, t(key)]), span, (ms) => { span = ms; attempt(drawLine); });
  const aroundSelect = select("around", AROUND.map((ms) => [ms, duration(ms)]), around, (ms) => { around = ms; attempt(drawRaw); });
  const button = (key, click) => h("button", { type: "button", on: { click } }, t(key));
  main.append(
    h("p", {}, h("a", { href: "#/fleet" }, `‹ ${t("back")}`)), h("h1", { class: "device" }, name), head, reasons,
    h("section", {}, h("h2", {}, t("timeline")), h("div", { class: "tools" }, field("span", "span", spanSelect), field("day", "untilDay", dayInput),
      h("div", { class: "pair" }, button("earlier", () => move((to ?? newest()) - span / 2)), button("later", () => move((to ?? newest()) + span / 2)), button("newest", () => move(null)))),
    line, lineNote),
    h("section", {}, h("h2", {}, t("raw")), h("div", { class: "tools" }, field("around", "around", aroundSelect),
      h("div", { class: "pair" }, button("earlier", () => look(moment_() - around)), button("later", () => look(moment_() + around)))),
    h("details", { class: "choose" }, h("summary", {}, t("choose")), picker), rawNote, raw),
    h("section", {}, h("h2", {}, t("states")), statesNote, h("table", { class: "rows" }, h("caption", { class: "hidden" }, t("states")),
      h("thead", {}, h("tr", {}, ["since", "state", "duration", "probability", "channels", "answer", "show"].map((key) => h("th", { scope: "col" }, t(key))))), states)),
    h("section", {}, h("h2", {}, t("answers")), answers));

  function field(id, label, input) {
    return h("div", { class: "field" }, h("label", { for: id }, t(label)), input);
  }
  function select(id, options, value, onChange) {
    const element = h("select", { id, on: { change: () => onChange(Number(element.value)) } }, options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
    return element;
  }
  const newest = () => device?.newest_ms ?? Date.now();
  const alarm = () => device.alarms.find(({ kind }) => kind === "fault" || kind === "unknown") ?? null;
  const moment_ = () => at ?? alarm()?.since_ms ?? newest();
  const channels = () => chosen ?? (alarm()?.channels.length ? alarm().channels.map(([channelName]) => channelName) : device.channels).slice(0, SHOWN);
  function move(ms) { to = ms === null || ms >= newest() ? null : ms; attempt(drawLine); }
  function look(ms) { at = ms; attempt(drawRaw); }
  function clear(which) { charts[which].splice(0).forEach((close) => close()); }

  async function refresh() {
    const first = device === null;
    const before = JSON.stringify(device?.alarms);
    device = await ask("device", { device: name });
    drawHead();
    const changed = before !== JSON.stringify(device.alarms);
    if (changed) drawStates();
    if (first) drawPicker();
    // Searching a long span costs the server: not before there would be another point to see.
    const moved = first || changed || (to === null && newest() - drawn >= span / 600);
    await Promise.all([moved ? drawLine() : null, first || changed ? drawRaw() : null]);
  }

  function drawHead() {
    const { row } = device;
    const fact = (key, ...value) => h("div", { class: "fact" }, h("dt", {}, t(key)), h("dd", {}, value));
    fill(head, h("dl", { class: "facts" }, fact("state", badge(row.state, row.kind)), fact("since", ageOf(row.since_ms)), fact("probability", meter(row.probability, row.kind)),
      fact("sample", ageOf(row.sample_ms))));
    const last = device.alarms[0];
    const standing = row.kind === "fault" && last?.kind === "fault";
    reasons.hidden = !standing;
    if (!standing) return;
    const most = Math.max(...last.channels.map(([, value]) => Math.abs(value)), 1e-9);
    fill(reasons, h("h2", {}, t("what")), h("p", { class: "quiet" }, t(last.channels.length ? "whatHelp" : "noChannels"), last.unit ? ` ${t("unit")} ${last.unit}.` : ""),
      last.channels.length === 0 ? null : h("ul", { class: "reasons" }, last.channels.map(([channelName, value]) => h("li", {}, h("span", { class: "name" }, channelName),
        h("span", { class: "bar", "aria-hidden": "true", vars: { share: Math.abs(value) / most } }), h("span", { class: "value" }, contribution(value))))));
  }

  async function drawLine() {
    const own = ++turn.line;
    const end = to ?? newest();
    const range = [Math.max(Math.round(end - span), 0), Math.round(end)];
    const history = await ask("verdicts", { device: name, from: range[0], to: range[1] });
    if (own !== turn.line) return;
    drawn = end;
    clear("line");
    fill(line);
    const here = new Date(end);
    dayInput.value = `${here.getFullYear()}-${String(here.getMonth() + 1).padStart(2, "0")}-${String(here.getDate()).padStart(2, "0")}`;
    const notes = [history.verdicts ? t("verdicts", { n: number(history.verdicts) }) : t("noVerdicts")];
    if (history.verdicts) notes.push(t("alarmBand"));
    if (history.verdicts > history.time_ms.length) notes.push(t("thinned"));
    if (history.reached_ms !== null) notes.push(t("partly", { time: moment(history.reached_ms) }));
    lineNote.textContent = notes.join(" · ");
    if (history.verdicts === 0) return;
    const label = t("chartOf", { device: name, from: moment(range[0]), to: moment(range[1]), summary: summary(history) });
    charts.line.push(probabilities(line, history, device.alarms, range, label, look));
  }

  async function drawRaw() {
    const own = ++turn.raw;
    const middle = moment_();
    // Where the device has sent nothing yet, there is nothing to show.
    const end = Math.max(Math.min(middle + around / 2, newest() + around / 20), middle);
    const range = [Math.max(Math.round(end - around), 0), Math.round(end)];
    const history = await ask("samples", { device: name, from: range[0], to: range[1], channels: JSON.stringify(channels()) });
    if (own !== turn.raw) return;
    clear("raw");
    fill(raw);
    const notes = [t("rawHelp", { time: moment(middle) })];
    notes.push(history.samples ? t(history.thinned ? "thinnedRaw" : "samplesN", { n: number(history.samples) }) : t("noSamples"));
    if (history.reached_ms !== null) notes.push(t("partly", { time: moment(history.reached_ms) }));
    rawNote.textContent = notes.join(" ");
    if (history.samples === 0) return;
    history.channels.forEach((channelName, i) => {
      const place = h("div", { class: "channel" }, h("h3", {}, channelName));
      raw.append(place);
      const there = history.values[i].filter((value) => value !== null);
      const label = t("chartChannel", { channel: channelName, device: name, from: moment(range[0]), to: moment(range[1]),
        low: there.length ? measure(Math.min(...there)) : "–", high: there.length ? measure(Math.max(...there)) : "–" });
      charts.raw.push(channel(place, history, i, range, middle, label));
    });
  }

  function drawPicker() {
    const boxes = device.channels.map((channelName) => {
      const box = h("input", { type: "checkbox", on: { change: () => {
        chosen = boxes.filter(({ box: one }) => one.checked).map(({ channelName: one }) => one);
        boxes.forEach(({ box: one }) => { one.disabled = !one.checked && chosen.length >= SHOWN; });
        attempt(drawRaw);
      } } });
      box.checked = channels().includes(channelName);
      return { box, channelName };
    });
    boxes.forEach(({ box }) => { box.disabled = !box.checked && channels().length >= SHOWN; });
    fill(picker, h("p", { class: "quiet" }, t("most", { n: SHOWN })), boxes.map(({ box, channelName }) => h("label", {}, box, channelName)));
  }

  function drawStates() {
    const cell = (key, ...content) => h("td", { "data-name": t(key) }, content);
    statesNote.textContent = device.older ? t("statesMost", { n: number(device.alarms.length) }) : "";
    fill(states, device.alarms.map((one) => h("tr", { class: one.kind }, h("th", { scope: "row" }, momentOf(one.since_ms)), cell("state", badge(one.state, one.kind), one.unit ? ` ${one.unit}` : ""),
      cell("duration", one.until_ms === null ? t("lasts") : duration(one.until_ms - one.since_ms)), cell("probability", meter(one.probability, one.kind)),
      cell("channels", moved(one.channels)), cell("answer", one.kind === "fault" || one.kind === "unknown" ? answerText(one.answer) : "–"),
      cell("show", h("button", { type: "button", "aria-label": `${t("show")}: ${moment(one.since_ms)}`, on: { click: () => { look(one.since_ms); raw.scrollIntoView({ block: "nearest" }); } } }, t("raw"))))));
    fill(answers, device.answers.length === 0 ? h("p", { class: "quiet" }, t("noAnswers")) : h("ul", { class: "plain" }, [...device.answers].reverse().map((one) =>
      h("li", {}, momentOf(one.received_ms), ": ", answerText(one), one.start_ms === null ? "" : ` (${moment(one.start_ms)} – ${one.end_ms === null ? "" : moment(one.end_ms)})`))));
  }

  return {
    title: name, refresh,
    redraw() { if (device !== null) attempt(() => Promise.all([drawLine(), drawRaw()])); },
    close() {
      turn.line += 1;
      turn.raw += 1;
      clear("line");
      clear("raw");
    },
  };
}
