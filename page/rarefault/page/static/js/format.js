// Times, numbers and states for people.
import { h } from "./dom.js";
import { language, t } from "./texts.js";

const tag = navigator.languages.find((name) => name.toLowerCase().startsWith(language)) ?? language;
const date = new Intl.DateTimeFormat(tag, { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat(tag, { hour: "2-digit", minute: "2-digit" });
const clockSeconds = new Intl.DateTimeFormat(tag, { timeStyle: "medium" });
const dayMonth = new Intl.DateTimeFormat(tag, { day: "numeric", month: "short" });
const whole = new Intl.NumberFormat(tag);
const precise = new Intl.NumberFormat(tag, { maximumSignificantDigits: 4 });
const share = new Intl.NumberFormat(tag, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]].map(([unit, seconds]) => [
  seconds, unit, new Intl.NumberFormat(tag, { style: "unit", unit, unitDisplay: "long", maximumFractionDigits: 0 })]);
export const zone = date.resolvedOptions().timeZone;

export const number = (value) => whole.format(value);
export const measure = (value) => precise.format(value);
export const contribution = (value) => `${value < 0 ? "" : "+"}${share.format(value)}`;
export const probability = (value) => (value === null ? "–" : share.format(value));
export const moment = (ms) => date.format(ms);
export const time = (ms) => clock.format(ms);
export const timeSeconds = (ms) => clockSeconds.format(ms);
export const day = (ms) => dayMonth.format(ms);
export const megabytes = (bytes) => `${precise.format(bytes / 1e6)} MB`;

/** How long, in the largest unit that fits at least once. */
export function duration(ms) {
  const seconds = Math.max(Math.round(ms / 1000), 0);
  const [size, , format] = units.find(([unit]) => seconds >= unit) ?? units.at(-1);
  return format.format(Math.floor(seconds / size));
}

const relative = new Intl.RelativeTimeFormat(tag, { numeric: "always" });

let ahead = 0; // of the server's clock before the browser's, ms
export const setServerTime = (ms) => { ahead = ms - Date.now(); };
export const serverNow = () => Date.now() + ahead;

export function age(ms) {
  const passed = serverNow() - ms;
  if (passed < -60_000) return t("ahead", { age: duration(-passed) });
  if (passed < 2000) return t("justNow");
  const seconds = Math.round(passed / 1000);
  const [size, unit] = units.find(([least]) => seconds >= least);
  return relative.format(-Math.floor(seconds / size), unit);
}

/** A time as its age, the moment itself in its title; kept up to date by `refreshAges`. */
export function ageOf(ms) {
  if (ms === null) return h("span", { class: "quiet" }, t("never"));
  return h("time", { datetime: new Date(ms).toISOString(), title: moment(ms), "data-age": ms }, age(ms));
}
export const momentOf = (ms) => (ms === null ? "–" : h("time", { datetime: new Date(ms).toISOString() }, moment(ms)));

export function refreshAges() {
  for (const element of document.querySelectorAll("[data-age]")) {
    const text = age(Number(element.dataset.age));
    if (element.textContent !== text) element.textContent = text;
  }
}

const MARKS = { fault: "▲", unknown: "?", silent: "○", none: "–", normal: "●" };
export const KINDS = Object.keys(MARKS);
const OWN = { normal: "normal", unknown: "unknown", "no data": "noData", "": "none" };

/** The name of a state: the model's own name of a fault, the page's word for the others. */
export const stateName = (state) => (state in OWN ? t(OWN[state]) : state);
export const mark = (kind) => h("span", { "aria-hidden": "true", class: "mark" }, MARKS[kind]);
export const badge = (state, kind) => h("span", { class: `badge ${kind}` }, mark(kind), h("span", {}, stateName(state)));

/** A probability as a number with a bar. */
export function meter(value, kind = "") {
  if (value === null) return h("span", { class: "quiet" }, "–");
  return h("span", { class: `meter ${kind}` }, h("span", { class: "bar", "aria-hidden": "true", vars: { share: value } }), probability(value));
}
export const deviceUrl = (device) => `#/device/${encodeURIComponent(device)}`;
export const deviceLink = (device) => h("a", { href: deviceUrl(device), class: "device" }, device);

/** What people said of an alarm. */
export function answerText(answer) {
  if (answer === null) return h("span", { class: "quiet" }, t("unanswered"));
  const parts = [t(answer.answer)];
  if (answer.fault) parts.push(t("itWas", { fault: answer.fault }));
  if (answer.note) parts.push(answer.note);
  return parts.join(" · ");
}
