// The fleet: every device in a row, worst first; filter, search and order stand in the address.
import { ask } from "../api.js";
import { fill, h } from "../dom.js";
import { KINDS, ageOf, badge, deviceLink, mark, meter, number } from "../format.js";
import { t } from "../texts.js";

const SORTS = ["worst", "device", "state", "since", "probability", "sample"];
const LIMIT = 50;

export function fleetView(main, _argument, query, attempt) {
  let state = read(query);
  let request = null;
  const search = h("input", { type: "search", id: "q", autocomplete: "off", spellcheck: "false", maxlength: 200, value: state.q,
    on: { input: () => go({ q: search.value, offset: 0 }, true) } });
  const chips = h("div", { class: "chips", role: "group", "aria-label": t("filterKinds") });
  const buttons = Object.fromEntries(KINDS.map((kind) => [kind, chip(kind)]));
  chips.append(...Object.values(buttons).map(({ button }) => button));
  const select = h("select", { id: "sort", on: { change: () => go({ sort: select.value, down: false, offset: 0 }) } },
    SORTS.map((name) => h("option", { value: name }, t(`sort_${name}`))));
  const turn = h("button", { type: "button", class: "turn", "aria-label": t("turn"), on: { click: () => go({ down: !state.down, offset: 0 }) } });
  const heads = SORTS.slice(1).map((name) => {
    const button = h("button", { type: "button", on: { click: () => go({ sort: name, down: state.sort === name && !state.down, offset: 0 }) } }, t(`sort_${name}`));
    return { name, button, cell: h("th", { scope: "col" }, button) };
  });
  const body = h("tbody");
  const none = h("p", { class: "quiet", hidden: true });
  const previous = h("button", { type: "button", on: { click: () => go({ offset: Math.max(state.offset - LIMIT, 0) }) } }, t("previous"));
  const next = h("button", { type: "button", on: { click: () => go({ offset: state.offset + LIMIT }) } }, t("next"));
  const range = h("span", { class: "quiet", role: "status" });
  main.append(
    h("h1", {}, t("fleet")), chips,
    h("div", { class: "tools" },
      h("div", { class: "field grow" }, h("label", { for: "q" }, t("search")), search),
      h("div", { class: "field" }, h("label", { for: "sort" }, t("sortBy")), h("div", { class: "pair" }, select, turn))),
    h("table", { class: "rows" }, h("caption", { class: "hidden" }, t("caption")), h("thead", {}, h("tr", {}, heads.map(({ cell }) => cell))), body),
    none, h("nav", { class: "pager", "aria-label": t("pages") }, previous, range, next));

  function chip(kind) {
    const count = h("span", { class: "count" });
    const button = h("button", { type: "button", class: `chip ${kind}`, "aria-pressed": "false", on: { click: () => {
      const kinds = new Set(state.kinds);
      if (!kinds.delete(kind)) kinds.add(kind);
      go({ kinds: [...kinds], offset: 0 });
    } } }, mark(kind), t(`kind_${kind}`), count);
    return { button, count };
  }

  function go(change, replace = false) {
    state = { ...state, ...change };
    const parameters = new URLSearchParams();
    if (state.q) parameters.set("q", state.q);
    if (state.kinds.length) parameters.set("kinds", state.kinds.join(","));
    if (state.sort !== "worst") parameters.set("sort", state.sort);
    if (state.down) parameters.set("down", "1");
    if (state.offset) parameters.set("offset", state.offset);
    const address = `#/fleet${parameters.size ? `?${parameters}` : ""}`;
    if (replace) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    attempt(refresh);
  }

  async function refresh() {
    request?.abort();
    request = new AbortController();
    const asked = state;
    const page = await ask("fleet", { q: asked.q, kinds: asked.kinds.join(","), sort: asked.sort, down: asked.down ? 1 : 0,
      offset: asked.offset, limit: LIMIT }, request.signal);
    if (asked === state) draw(page);
  }

  function draw(page) {
    for (const [kind, { button, count }] of Object.entries(buttons)) {
      button.setAttribute("aria-pressed", String(state.kinds.includes(kind)));
      count.textContent = number(page.counts[kind]);
    }
    select.value = state.sort;
    turn.textContent = state.down ? "↓" : "↑";
    turn.title = t(state.down ? "descending" : "ascending");
    for (const { name, button, cell } of heads) {
      const here = state.sort === name;
      if (here) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
      button.classList.toggle("here", here);
    }
    const focused = body.contains(document.activeElement) ? document.activeElement.textContent : null;
    fill(body, page.rows.map(row));
    if (focused !== null) [...body.querySelectorAll("a")].find((link) => link.textContent === focused)?.focus();
    const total = Object.values(page.counts).reduce((a, b) => a + b, 0);
    none.hidden = page.rows.length > 0;
    none.textContent = t(total ? "noneFound" : "noDevices");
    const last = state.offset + page.rows.length;
    range.textContent = page.found ? t("range", { from: number(state.offset + 1), to: number(last), n: number(page.found) }) : "";
    previous.disabled = state.offset === 0;
    next.disabled = last >= page.found;
  }

  return {
    title: t("fleet"), refresh, close: () => request?.abort(),
    navigate(parameters) {
      state = read(parameters);
      search.value = state.q;
      attempt(refresh);
    },
  };
}

function read(query) {
  const sort = query.get("sort") ?? "worst";
  const offset = Number(query.get("offset") ?? 0);
  return {
    q: (query.get("q") ?? "").slice(0, 200),
    kinds: (query.get("kinds") ?? "").split(",").filter((kind) => KINDS.includes(kind)),
    sort: SORTS.includes(sort) ? sort : "worst",
    down: query.get("down") === "1",
    offset: Number.isSafeInteger(offset) && offset > 0 ? offset : 0,
  };
}

function row({ device, state, kind, since_ms, probability, sample_ms }) {
  const cell = (name, ...content) => h("td", { "data-name": t(name) }, content);
  return h("tr", { class: kind }, h("th", { scope: "row" }, deviceLink(device)), cell("state", badge(state, kind)), cell("since", ageOf(since_ms)),
    cell("probability", meter(probability, kind)), cell("sample", ageOf(sample_ms)));
}
