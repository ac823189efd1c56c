// The model: what `rarefault inspect` says of its file.
import { ask } from "../api.js";
import { fill, h } from "../dom.js";
import { t } from "../texts.js";

export function modelView(main) {
  const content = h("div", {}, h("p", { class: "quiet" }, t("loading"), " …"));
  let known = "";
  main.append(h("h1", {}, t("model")), h("p", { class: "quiet" }, t("modelHelp")), content);

  async function refresh() {
    const card = await ask("model");
    const text = JSON.stringify(card);
    if (text === known) return;
    known = text;
    const groups = [];
    for (const [title, value] of card.rows) {
      if (title) groups.push([title, []]);
      groups.at(-1)[1].push(value);
    }
    fill(content, h("p", {}, h("code", {}, card.path)), h("dl", { class: "card" },
      groups.flatMap(([title, values]) => [h("dt", {}, title), values.map((value) => h("dd", {}, value))])));
  }
  return { title: t("model"), refresh, pace: 30_000 };
}
