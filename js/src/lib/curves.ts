// Rates across bandwidths: which chart is drawn, and the same numbers as a table. Traits: curves, drawn.
import { h, uid } from "./dom.ts";
import type { View } from "./model.ts";
import { type Estimate, interval } from "./rates_table.ts";
import { number } from "./shade.ts";

export interface Point extends Estimate {
  name: string;
  bandwidth: number;
  verdict: string;
  /** Whether the inversion there is not to be relied on. */
  doubtful: boolean;
}

const WORDS: Record<string, string> = { LOW_ESS: "too few effective samples", INVERTER_FAILED: "the generator missed it" };

/** Two buttons above the chart; there only where there are rates across bandwidths. */
export function chartChoice(view: View): HTMLElement {
  const button = (value: string, label: string) => h("button", { type: "button", class: "isn-button", "data-isn-chart": value, on: { click: () => view.write("drawn", value) } }, label);
  const buttons = [button("rates", "At this bandwidth"), button("bandwidths", "Across bandwidths")];
  const element = h("div", { class: "isn-row isn-segments", role: "group", "aria-label": "Which chart" }, ...buttons);
  view.follow(["curves", "drawn"], () => {
    element.hidden = (view.model.get("curves") ?? []).length === 0 || Boolean(view.model.get("frozen"));
    for (const one of buttons) one.setAttribute("aria-pressed", String(one.dataset.isnChart === (view.model.get("drawn") ?? "rates")));
  });
  return element;
}

/** The numbers behind the curves. */
export function curvesTable(view: View): HTMLElement {
  const body = h("tbody");
  const head = ["hypothesis", "bandwidth", "FCR, this input", "chance", "effective samples", h("span", { class: "isn-hidden" }, "verdict")].map((text) => h("th", { scope: "col" }, text));
  const id = uid("curves");
  const note = h("p", { class: "isn-note", id }, "Fresh samples at each bandwidth. Grey, and hollow in the chart: not to be relied on.");
  const sheet = h("table", { class: "isn-table", "aria-describedby": id }, h("thead", null, h("tr", null, ...head)), body);
  const box = h("details", { class: "isn-curves" }, h("summary", null, "Across bandwidths, as a table"), h("div", { class: "isn-table-box", tabindex: "0", role: "region", "aria-label": "Rates across bandwidths" }, sheet), note);
  view.follow(["curves"], () => {
    const points: Point[] = view.model.get("curves") ?? [];
    box.hidden = points.length === 0;
    body.replaceChildren(
      ...points.map((one) =>
        h(
          "tr",
          null,
          h("th", { scope: "row" }, one.name),
          h("td", { class: "isn-cell-number" }, number(one.bandwidth, 3)),
          h("td", { class: one.doubtful ? "isn-cell-number isn-doubtful" : "isn-cell-number" }, interval(one)),
          h("td", { class: "isn-cell-number isn-quiet" }, number(one.chance)),
          h("td", { class: "isn-cell-number isn-quiet" }, number(one.n, 0)),
          h("td", { class: "isn-quiet" }, one.fcr == null ? "only copies of the input" : (WORDS[one.verdict] ?? "")),
        ),
      ),
    );
  });
  return box;
}
