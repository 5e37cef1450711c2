// Proposed hypotheses of the inversion shown: a sentence with its evidence each, and a button that tests it.
// Traits: proposals, rows, frozen.
import { h, replace } from "./dom.ts";
import type { View } from "./model.ts";
import { errorBox, errorText } from "./mount.ts";
import { type Rpc, stopped } from "./rpc.ts";

interface Proposals {
  note: string;
  items: Array<{ name: string; sentence: string; folded: string[]; source?: string }>;
  refused?: string[]; // lines of a language model's answer, with the reasons
}
const MODEL = "language model";

export function proposalsList(view: View, rpc: Rpc): HTMLElement {
  const list = h("ul", { class: "isn-proposal-list" });
  const note = h("p", { class: "isn-note", role: "status" });
  const faults = h("div");
  const refused = h("ul", { class: "isn-refused" });
  const count = h("summary", null);
  const unused = h("details", { class: "isn-terms" }, count, refused);
  const element = h("section", { class: "isn-proposals", "aria-label": "Proposed hypotheses" }, list, faults, note, unused);
  const accept = (name: string) =>
    rpc.request("accept", { name }).then(
      () => replace(faults),
      (error) => !stopped(error) && replace(faults, errorBox(errorText(error), () => replace(faults))),
    );
  view.follow(["proposals", "rows", "frozen"], () => {
    const found: Proposals | null = view.model.get("proposals") ?? null;
    element.hidden = !found;
    list.hidden = !found?.items.length;
    if (!found) replace(faults);
    if (note.textContent !== (found?.note ?? "")) note.textContent = found?.note ?? "";
    const lines = found?.refused ?? [];
    unused.hidden = !lines.length;
    count.textContent = `${lines.length} line${lines.length === 1 ? "" : "s"} of the language model\u2019s answer not used`;
    replace(refused, ...lines.map((line) => h("li", null, line)));
    const tested = new Set(((view.model.get("rows") ?? []) as Array<{ name: string }>).map((row) => row.name));
    replace(
      list,
      ...(found?.items ?? []).map(({ name, sentence, folded, source }) => {
        const button = h("button", { type: "button", class: "isn-button", "aria-label": `Test it: ${name}`, on: { click: () => accept(name) } }, tested.has(name) ? "Added" : "Test it");
        button.disabled = tested.has(name);
        button.hidden = Boolean(view.model.get("frozen"));
        const more = folded.length ? h("span", { class: "isn-beside" }, `and with it: ${folded.slice(0, 3).join(", ")}${folded.length > 3 ? ` and ${folded.length - 3} more` : ""}`) : null;
        const by = source === MODEL ? h("span", { class: "isn-beside" }, "proposed by the language model, tested as the others") : null;
        return h("li", { class: "isn-proposal" }, h("span", { class: "isn-proposal-words" }, sentence, by, more), button);
      }),
    );
  });
  return element;
}
