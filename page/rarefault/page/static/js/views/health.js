// Health: the journal, what was rejected and why, devices whose clocks are wrong.
import { ask } from "../api.js";
import { fill, h } from "../dom.js";
import { ageOf, deviceLink, megabytes, moment, momentOf, number } from "../format.js";
import { t } from "../texts.js";

export function healthView(main) {
  const content = h("div");
  const opened = new Set();
  main.append(h("h1", {}, t("health")), content);

  function reason({ reason: name, count, examples }) {
    const list = examples.map((one) => h("li", {}, momentOf(one.received_ms), " ", h("code", {}, one.topic), h("p", {}, one.detail),
      one.payload ? h("pre", { tabindex: 0, "aria-label": `${name} ${one.topic}` }, one.payload) : null));
    const details = h("details", { open: opened.has(name), on: { toggle: () => opened[details.open ? "add" : "delete"](name) } },
      h("summary", {}, h("code", {}, name), " ", h("span", { class: "count" }, number(count))), h("ul", { class: "plain" }, list));
    return details;
  }

  async function refresh() {
    const health = await ask("health");
    const focused = content.contains(document.activeElement) ? [...content.querySelectorAll("summary, a, pre")].indexOf(document.activeElement) : -1;
    const fact = (name, ...value) => h("div", { class: "fact" }, h("dt", {}, t(name)), h("dd", {}, value));
    const state = health.journal.state === "ok" ? t("ok") : t(`journal_${health.journal.state}`);
    const newest = health.newest === null ? t("never") : [ageOf(health.newest[1]), " ", deviceLink(health.newest[0])];
    const muted = health.muted.map((one) => h("li", {}, deviceLink(one.device), ": ",
      t("late", { n: number(one.late), heard: moment(one.heard_ms), newest: moment(one.newest_ms) })));
    fill(content,
      h("dl", { class: "facts" }, fact("journalState", state), fact("path", h("code", {}, health.path)), fact("size", megabytes(health.size)),
        fact("newestSample", newest), fact("devices", number(health.devices)), fact("silent", number(health.silent))),
      health.salvaged_ms === null ? null : h("p", { class: "problem" }, t("salvaged"), " (", momentOf(health.salvaged_ms), "): ", health.salvaged),
      h("section", {}, h("h2", {}, t("rejected")), h("p", { class: "quiet" }, t(health.reasons.length ? "rejectedHelp" : "noRejected")), health.reasons.map(reason)),
      h("section", {}, h("h2", {}, t("muted")), h("p", { class: "quiet" }, t(muted.length ? "mutedHelp" : "noMuted")), muted.length ? h("ul", { class: "plain" }, muted) : null,
        health.muted_more ? h("p", {}, t("andMore", { n: number(health.muted_more) })) : null));
    if (focused >= 0) content.querySelectorAll("summary, a, pre")[focused]?.focus();
  }
  return { title: t("health"), refresh, pace: 10_000 };
}
