// ConsistencyPanel: hypotheses about the inputs found, and how consistently each holds, as a chart and as the
// same numbers in a table. Traits: features, rows, measured, where, chart, ready, status, error, measure_label, chance_note, doubt.
import { child } from "./lib/child.ts";
import { h, replace, uid } from "./lib/dom.ts";
import { csv, save } from "./lib/download.ts";
import type { View } from "./lib/model.ts";
import { errorBox, errorText, widget } from "./lib/mount.ts";
import { progressBar } from "./lib/progress.ts";
import { Rpc, stopped } from "./lib/rpc.ts";
import { number } from "./lib/shade.ts";

interface Estimate {
  fcr: number | null;
  low: number | null;
  high: number | null;
  chance: number | null;
  /** The share without weights, and how far the rate is above chance: 0 at chance, 1 at full agreement. */
  plain: number | null;
  star: number | null;
  n: number;
  p_value?: number | null;
}

interface HypothesisRow {
  name: string;
  label: string | null;
  here: Estimate | null;
  across: Estimate | null;
  note: string | null;
}

function addForm(view: View, rpc: Rpc): HTMLElement {
  const ready = h("select", { class: "isn-input", "aria-label": "Hypothesis" });
  const value = h("input", { class: "isn-input", type: "text", "aria-label": "Text" });
  const position = h("input", { class: "isn-input isn-position", type: "number", value: "-1", "aria-label": "Position, counted from the end when negative" });
  const add = h("button", { type: "submit", class: "isn-button isn-primary" }, "Test it");
  const faults = h("div");
  const form = h("form", { class: "isn-row isn-add" }, ready, value, position, add);

  const WRITTEN: Record<string, string> = { "=contains": "contains the text\u2026", "=regex": "matches the pattern\u2026", "=token_at": "has the token at position\u2026" };
  const update = () => {
    const kind = ready.value;
    value.hidden = !(kind === "=contains" || kind === "=regex");
    position.hidden = kind !== "=token_at";
    value.placeholder = kind === "=regex" ? "for example (\\w+) and" : "for example Mary";
  };
  let touched = false; // until somebody chooses, the first of what there is is chosen
  view.follow(["features"], () => {
    const features: Array<{ name: string; description: string }> = view.model.get("features") ?? [];
    const chosen = ready.value;
    const made = features.map(({ name, description }) => h("option", { value: `+${name}`, title: description }, `same ${name}`));
    const written = Object.entries(WRITTEN).map(([kind, label]) => h("option", { value: kind }, label));
    const group = (label: string, options: HTMLOptionElement[]) => (options.length ? h("optgroup", { label }, ...options) : null);
    replace(ready, group("Ready-made", made), group("Write one", written));
    if (touched && [...ready.options].some((option) => option.value === chosen)) ready.value = chosen;
    update();
  });
  ready.addEventListener("change", () => {
    touched = true;
    update();
  });
  for (const input of [value, position]) {
    input.addEventListener("keydown", (event) => event.stopPropagation());
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const kind = ready.value;
    const params: Record<string, unknown> = kind.startsWith("+") ? { kind: "ready", name: kind.slice(1) } : { kind: kind.slice(1), value: value.value, position: Number(position.value) };
    add.disabled = true;
    rpc.request("add", params).then(
      () => {
        add.disabled = false;
        if (value.value === params.value) value.value = ""; // else the next one is being typed
        replace(faults);
      },
      (error) => {
        add.disabled = false;
        if (!stopped(error)) replace(faults, errorBox(errorText(error), () => replace(faults)));
      },
    );
  });
  return h("div", null, form, faults);
}

function interval(estimate: Estimate | null): string {
  if (!estimate || estimate.fcr == null) return "\u2013";
  const range = estimate.low == null ? "" : ` (${number(estimate.low)}\u2013${number(estimate.high)})`;
  return `${number(estimate.fcr)}${range}`;
}

/** What else is known of a rate, in a quiet line below it. */
function beside(estimate: Estimate | null): HTMLElement | null {
  if (!estimate || estimate.fcr == null) return null;
  return h("span", { class: "isn-beside", title: "FCR*: 0 at chance, 1 where all agree. Plain: all samples count alike" }, `FCR* ${number(estimate.star)} \u00b7 plain ${number(estimate.plain)}`);
}

const COLUMNS = ["hypothesis", "over", "where", "label", "fcr", "low", "high", "chance", "fcr_star", "fcr_plain", "n", "p_value"];

/** All rates that the panel knows, as a file. */
function ratesCsv(view: View): string {
  const numbers = (rate: Estimate) => [rate.fcr, rate.low, rate.high, rate.chance, rate.star, rate.plain, rate.n, rate.p_value];
  const here = ((view.model.get("rows") ?? []) as HypothesisRow[]).filter((row) => row.here).map((row) => [row.name, "this input", view.model.get("where") ?? "", row.label, ...numbers(row.here!)]);
  const across = ((view.model.get("measured") ?? []) as Measured[]).map((one) => [one.name, "across inputs", one.where, null, ...numbers(one)]);
  return csv(COLUMNS, [...here, ...across]);
}

function table(view: View, rpc: Rpc): HTMLElement {
  const body = h("tbody");
  const head = ["hypothesis", "value here", "FCR, this input", "chance", "FCR, across inputs", "chance", ""].map((text) => h("th", { scope: "col" }, text));
  const id = uid("fcr");
  const caption = h("p", { class: "isn-note", id });
  view.follow(["chance_note"], () => {
    const note: string = view.model.get("chance_note") ?? "";
    const here = note ? "" : ", for this input draws from P(X)";
    const words = `FCR: the share of inputs that agree with the picked one (95 % interval), copies of it left out. Chance: the same for unrelated inputs: across inputs those of the other picks${here}.`;
    replace(caption, note ? `${words} ` : words, note && h("strong", { class: "isn-chance-note" }, note));
  });
  const sheet = h("table", { class: "isn-table", "aria-describedby": id }, h("thead", null, h("tr", null, ...head)), body);
  const file = h("button", { type: "button", class: "isn-link", on: { click: () => save("rates.csv", "text/csv", ratesCsv(view)) } }, "Save the rates as CSV");
  const element = h("div", { class: "isn-table-part" }, h("div", { class: "isn-table-box" }, sheet), h("div", { class: "isn-downloads" }, file), caption);
  const doubt = h("p", { class: "isn-remark" });
  element.prepend(doubt);
  view.follow(["rows", "doubt"], () => {
    doubt.textContent = view.model.get("doubt") ?? "";
    doubt.hidden = !doubt.textContent;
    const here = doubt.hidden ? "isn-cell-number" : "isn-cell-number isn-doubtful";
    const rows: HypothesisRow[] = view.model.get("rows") ?? [];
    element.hidden = rows.length === 0;
    const lines = rows.map((row) => {
      const remove = () => rpc.request("remove", { name: row.name }).catch((error) => view.fail(error));
      const cells = row.note
        ? [h("td", { colspan: 5, class: "isn-note" }, row.note)]
        : [
            h("td", { class: "isn-mono" }, row.label ?? "undefined"),
            h("td", { class: here }, interval(row.here), beside(row.here)),
            h("td", { class: "isn-cell-number isn-quiet" }, row.here ? number(row.here.chance) : "\u2013"),
            h("td", { class: "isn-cell-number" }, interval(row.across), beside(row.across)),
            h("td", { class: "isn-cell-number isn-quiet" }, row.across ? number(row.across.chance) : "\u2013"),
          ];
      const button = view.model.get("frozen") ? null : h("button", { type: "button", class: "isn-icon-button", "aria-label": `Remove ${row.name}`, on: { click: remove } }, "\u2715");
      return h("tr", null, h("th", { scope: "row" }, row.name), ...cells, h("td", null, button));
    });
    body.replaceChildren(...lines);
  });
  return element;
}

interface Measured extends Estimate {
  name: string;
  where: string;
}

/** Every measurement so far, of whatever was picked when it was made. */
function history(view: View): HTMLElement {
  const title = h("summary");
  const body = h("tbody");
  const head = ["hypothesis", "measured at", "FCR", "chance", "p"].map((text) => h("th", { scope: "col" }, text));
  const box = h("details", { class: "isn-history" }, title, h("div", { class: "isn-table-box", tabindex: "0", role: "region", "aria-label": "Measured so far" }, h("table", { class: "isn-table" }, h("thead", null, h("tr", null, ...head)), body)));
  view.follow(["measured"], () => {
    const measured: Measured[] = view.model.get("measured") ?? [];
    box.hidden = measured.length === 0;
    title.textContent = `Measured so far (${measured.length})`;
    body.replaceChildren(
      ...measured.map((one) =>
        h(
          "tr",
          null,
          h("th", { scope: "row" }, one.name),
          h("td", null, one.where),
          h("td", { class: "isn-cell-number" }, interval(one), beside(one)),
          h("td", { class: "isn-cell-number isn-quiet" }, number(one.chance)),
          h("td", { class: "isn-cell-number isn-quiet" }, number(one.p_value, 3)),
        ),
      ),
    );
  });
  return box;
}

export function drawConsistencyPanel(view: View): void {
  const rpc = new Rpc(view);
  const empty = h("p", { class: "isn-empty isn-note" }, "Invert an activation first; then a hypothesis about its inputs can be tested here.");
  const faults = h("div");
  const measure = h("button", { type: "button", class: "isn-button" });
  const measureId = uid("measure");
  const measureNote = h("span", { class: "isn-note", id: measureId });
  measure.setAttribute("aria-describedby", measureId);
  measure.addEventListener("click", () => {
    rpc.request("measure").catch(() => undefined); // what went wrong comes as the trait "error"

  });
  const chart = child(view, "chart", "the chart");
  chart.classList.add("isn-chart");
  const progress = progressBar(view, "status", () => rpc.request("stop").catch((error) => view.fail(error)));
  const measureRow = h("div", { class: "isn-row isn-measure" }, measure, measureNote);
  const form = addForm(view, rpc);
  const rates = h("div", { class: "isn-rates" }, chart, table(view, rpc));
  const body = h("div", { class: "isn-panel-body" }, form, faults, measureRow, progress, rates, history(view));
  view.root.append(empty, body);
  // Where nothing is inverted there is nothing to test, but a measurement that runs, and those that were made, stay.
  view.follow(["ready"], () => {
    const ready = Boolean(view.model.get("ready"));
    form.hidden = Boolean(view.model.get("frozen")) || !ready;
    empty.hidden = ready;
    rates.hidden = !ready;
  });
  view.follow(["rows", "measure_label", "status", "ready"], () => {
    const any = (view.model.get("rows") ?? []).length > 0 && Boolean(view.model.get("ready"));
    const label: string = view.model.get("measure_label") ?? "";
    measureRow.hidden = !any || !label;
    measure.disabled = Boolean(view.model.get("status")?.running);
    measure.textContent = "Measure across inputs";
    measureNote.textContent = label;
    chart.hidden = !any;
  });
  view.follow(["error"], () => {
    const error = view.model.get("error");
    replace(faults, error?.message ? errorBox(error, () => rpc.request("dismiss").catch(() => undefined)) : null);
  });
}

export default widget("panel", drawConsistencyPanel);
