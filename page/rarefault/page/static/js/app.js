// The frame of the page: addresses to views, news to views, what stands around them.
import { ApiError, ask } from "./api.js";
import { fill, h } from "./dom.js";
import { deviceUrl, number, refreshAges, setServerTime, stateName, zone } from "./format.js";
import { follow } from "./live.js";
import { language, t } from "./texts.js";
import { alarmsView } from "./views/alarms.js";
import { deviceView } from "./views/device.js";
import { fleetView } from "./views/fleet.js";
import { healthView } from "./views/health.js";
import { modelView } from "./views/model.js";

// A view: (main, argument, query, attempt) => { title, refresh(), close(), pace }: what a person starts goes through `attempt`.
const VIEWS = { fleet: fleetView, alarms: alarmsView, device: deviceView, health: healthView, model: modelView };
const NAV = ["fleet", "alarms", "health", "model"];
const main = document.getElementById("main");
let view = null;
let shown = "";
let lostSince = null;
let lastAlarm = null;

function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  let argument = "";
  try {
    argument = decodeURIComponent(rest.join("/"));
  } catch { /* no name of ours */ }
  return { name: name in VIEWS ? name : "fleet", argument, query: new URLSearchParams(query) };
}

function navigate() {
  const { name, argument, query } = route();
  const key = `${name}/${argument}`;
  if (view !== null && key === shown && view.navigate) {
    view.navigate(query);
    return;
  }
  view?.close?.();
  const first = view === null;
  shown = key;
  fill(main);
  let own = null;
  view = own = VIEWS[name](main, argument, query, (work) => attempt(own, work));
  drawNav(name);
  if (!first) {
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  setTitle();
  refresh(false);
}

let open = 0;
function setTitle() {
  document.title = `${open ? `(${open}) ` : ""}${view?.title ?? ""} – rarefault`;
}

function drawNav(current) {
  const links = NAV.map((name) => {
    const here = name === current || (current === "device" && name === "fleet");
    const count = name === "alarms" && open ? h("span", { class: "count" }, number(open)) : null;
    return h("a", { href: `#/${name}`, "aria-current": here ? "page" : null }, t(name), count);
  });
  fill(document.getElementById("nav"), links);
}

function problem(error) {
  if (!(error instanceof ApiError)) throw error;
  return t("failed", { why: error.message || t("noServer") });
}

async function refresh(alarm, paced = false) {
  refreshStatus();
  if (alarm) announce();
  const of = view;
  if (paced && Date.now() - (of.asked ?? 0) < (of.pace ?? 0)) return;
  of.asked = Date.now();
  await attempt(of, of.refresh);
}

/** Do some work of a view; where it fails, say why above it. */
async function attempt(of, work) {
  try {
    await work();
    of.failed?.remove();
  } catch (error) {
    if (error.name === "AbortError" || of !== view) return;
    of.failed?.remove();
    of.failed = h("p", { class: "problem", role: "alert" }, problem(error));
    main.prepend(of.failed);
  }
}

async function refreshStatus() {
  let status;
  try {
    status = await ask("status");
  } catch {
    lost(true);
    return;
  }
  setServerTime(status.now_ms);
  open = status.counts.fault + status.counts.unknown;
  drawNav(route().name);
  setTitle();
  const access = document.getElementById("access");
  fill(access, status.access.may_answer ? (status.access.user ?? "") : t("readOnly"));
  access.title = status.access.may_answer ? "" : t("readOnlyWhy");
  banner("journal", status.journal.state === "ok" ? null
    : [h("strong", {}, t(`journal_${status.journal.state}`)), " ", status.journal.sentence, ". ", t("stale")]);
}

function banner(name, content) {
  const banners = document.getElementById("banners");
  const old = banners.querySelector(`[data-name="${name}"]`);
  const text = content === null ? "" : content.map((part) => part.textContent ?? part).join("");
  if (old?.textContent === text) return;
  old?.remove();
  if (content !== null) banners.append(h("p", { class: "banner", "data-name": name, role: "alert" }, content));
}

function lost(is) {
  if (!is) lostSince = null;
  else lostSince ??= Date.now();
  banner("lost", is ? [t("lost")] : null);
}

/** Say which alarm is new. */
async function announce() {
  const { alarms } = await ask("alarms", { limit: 1 });
  if (alarms.length === 0 || alarms[0].key === lastAlarm) return;
  lastAlarm = alarms[0].key;
  const { device, state } = alarms[0];
  const text = t("newAlarm", { device, state: stateName(state) });
  const close = h("button", { type: "button", "aria-label": t("close"), on: { click: () => fill(notice) } }, "×");
  const notice = document.getElementById("notice");
  fill(notice, h("p", { class: "notice" }, h("a", { href: deviceUrl(device) }, text), close));
}

document.documentElement.lang = language;
const skip = document.getElementById("skip");
skip.textContent = t("skip");
skip.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.getElementById("nav").setAttribute("aria-label", t("nav"));
document.getElementById("foot").textContent = t("zone", { zone });
addEventListener("hashchange", navigate);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view?.redraw?.());
setInterval(refreshAges, 5000);
navigate();
follow((alarm) => refresh(alarm, !alarm), lost);
