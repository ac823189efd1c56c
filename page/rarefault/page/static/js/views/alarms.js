// Alarms: those that stand, and those of the past, with what moved them.
import { ask } from "../api.js";
import { fill, h } from "../dom.js";
import { ageOf, answerText, badge, deviceLink, contribution, duration, meter, momentOf, number } from "../format.js";
import { t } from "../texts.js";

const LIMIT = 50;

export function alarmsView(main, _argument, _query, attempt) {
  const open = section("open", "noOpen");
  const past = section("past", "noPast");
  let older = [];
  const most = h("p", { class: "quiet" });
  open.element.append(most);
  main.append(h("h1", {}, t("alarms")), open.element, past.element);

  function section(name, nothing) {
    const body = h("tbody");
    const none = h("p", { class: "quiet", hidden: true }, t(nothing));
    const more = h("button", { type: "button", class: "more", hidden: true }, t("more"));
    const heads = ["device", "state", "since", "duration", "probability", "channels", "answer"];
    const table = h("table", { class: "rows" }, h("caption", { class: "hidden" }, t(name)),
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, t(head))))), body);
    const count = h("span", { class: "count" });
    const element = h("section", { "aria-label": t(name) }, h("h2", {}, t(name), " ", count), table, none, more);
    return { body, none, more, table, element, count };
  }

  function draw({ body, none, more, table }, alarms, onMore) {
    const focused = body.contains(document.activeElement) ? document.activeElement.closest("tr").dataset.key : null;
    fill(body, alarms.map(alarmRow));
    body.querySelector(`tr[data-key="${focused}"] a`)?.focus();
    none.hidden = alarms.length > 0;
    table.hidden = alarms.length === 0;
    more.hidden = onMore === null;
    more.onclick = onMore;
  }

  async function refresh() {
    const [standing, gone] = await Promise.all([ask("alarms", { open: 1, limit: 200 }), ask("alarms", { limit: LIMIT })]);
    open.count.textContent = standing.alarms.length ? number(standing.alarms.length) + (standing.next === null ? "" : "+") : "";
    fill(most, standing.next === null ? null : h("a", { href: "#/fleet?kinds=fault,unknown" }, t("openMost", { n: number(standing.alarms.length) })));
    draw(open, standing.alarms, null);
    const ended = (alarms) => alarms.filter((alarm) => alarm.until_ms !== null);
    const seen = new Set(gone.alarms.map(({ key }) => key));
    older = older.filter(({ key }) => !seen.has(key));
    const all = [...gone.alarms, ...older];
    const last = older.length ? older.at(-1).key : gone.next;
    draw(past, ended(all), last === null || older.end ? null : () => attempt(async () => {
      const answer = await ask("alarms", { before: last, limit: LIMIT });
      older = [...older, ...answer.alarms];
      older.end = answer.next === null;
      await refresh();
    }));
  }
  return { title: t("alarms"), refresh };
}

/** One alarm as a row. */
function alarmRow(alarm) {
  const cell = (name, ...content) => h("td", { "data-name": t(name) }, content);
  const lasted = alarm.until_ms === null ? t("lasts") : duration(alarm.until_ms - alarm.since_ms);
  const since = alarm.until_ms === null ? ageOf(alarm.since_ms) : momentOf(alarm.since_ms);
  return h("tr", { class: alarm.kind, "data-key": alarm.key }, h("th", { scope: "row" }, deviceLink(alarm.device)),
    cell("state", badge(alarm.state, alarm.kind), alarm.unit ? h("span", { class: "quiet" }, " ", alarm.unit) : null), cell("since", since),
    cell("duration", lasted), cell("probability", meter(alarm.probability, alarm.kind)), cell("channels", moved(alarm.channels)),
    cell("answer", answerText(alarm.answer)));
}

/** The channels that moved an alarm, the most first. */
export function moved(channels) {
  if (channels.length === 0) return h("span", { class: "quiet" }, "–");
  return h("ul", { class: "moved" }, channels.slice(0, 3).map(([name, value]) => h("li", {}, name, " ", h("span", { class: "quiet" }, contribution(value)))));
}
