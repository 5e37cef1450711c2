// ConsistencyPanel: hypotheses about the inputs found, and how consistently each holds, as a chart and as the
// same numbers in a table. Traits: features, rows, measured, where, chart, drawn, proposals, curves, ready, status,
// stopped, error, measure_label, bandwidths_label, chance_note, doubt, code, frozen.
import { child } from "./lib/child.ts";
import { codeBox } from "./lib/code.ts";
import { chartChoice, curvesTable } from "./lib/curves.ts";
import { disable, h, replace, uid } from "./lib/dom.ts";
import { hypothesisForm } from "./lib/hypothesis_form.ts";
import type { View } from "./lib/model.ts";
import { errorBox, widget } from "./lib/mount.ts";
import { progressBar } from "./lib/progress.ts";
import { proposalsList } from "./lib/proposals.ts";
import { history, ratesTable } from "./lib/rates_table.ts";
import { Rpc } from "./lib/rpc.ts";

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
  const job = (method: string, label: string) => h("button", { type: "button", class: "isn-button", on: { click: () => rpc.request(method).catch(() => undefined) } }, label);
  const propose = job("propose", "Propose");
  propose.title = "Look for hypotheses in one half of these samples, and test them on the other";
  const bandwidths = h("button", { type: "button", class: "isn-button" }, "Measure across bandwidths");
  bandwidths.addEventListener("click", () => {
    rpc.request("bandwidths").then(() => rates.scrollIntoView({ block: "nearest" }), () => undefined); // drawn above the button
  });
  const bandwidthsId = uid("bandwidths");
  const bandwidthsNote = h("span", { class: "isn-note", id: bandwidthsId });
  bandwidths.setAttribute("aria-describedby", bandwidthsId);
  const chart = child(view, "chart", "the chart");
  chart.classList.add("isn-chart");
  const progress = progressBar(view, "status", () => rpc.request("stop").catch((error) => view.fail(error)));
  const stopped = h("p", { class: "isn-note", role: "status" });
  view.follow(["stopped"], () => {
    stopped.textContent = view.model.get("stopped") ?? "";
    stopped.hidden = !stopped.textContent;
  });
  const measureRow = h("div", { class: "isn-row isn-measure" }, measure, measureNote);
  const bandwidthsRow = h("div", { class: "isn-row isn-measure" }, bandwidths, bandwidthsNote);
  const form = h("div", { class: "isn-hypotheses" }, hypothesisForm(view, rpc));
  const proposeRow = h("div", { class: "isn-row" }, propose, h("span", { class: "isn-note" }, "hypotheses from these samples"));
  const rates = h("div", { class: "isn-rates" }, chartChoice(view), chart, ratesTable(view, rpc), curvesTable(view));
  const body = h("div", { class: "isn-panel-body" }, form, faults, rates, proposeRow, proposalsList(view, rpc), measureRow, bandwidthsRow, progress, stopped, history(view), codeBox(view, "Copy these rates as Python"));
  view.root.append(empty, body);
  // Where nothing is inverted there is nothing to test, but a measurement that runs, and those that were made, stay.
  view.follow(["ready"], () => {
    const ready = Boolean(view.model.get("ready"));
    form.hidden = proposeRow.hidden = Boolean(view.model.get("frozen")) || !ready;
    empty.hidden = ready;
    rates.hidden = !ready;
  });
  view.follow(["rows", "measure_label", "bandwidths_label", "status", "ready"], () => {
    const any = (view.model.get("rows") ?? []).length > 0 && Boolean(view.model.get("ready"));
    const label: string = view.model.get("measure_label") ?? "";
    measureRow.hidden = !any || !label;
    const running = Boolean(view.model.get("status")?.running);
    for (const button of [measure, propose, bandwidths]) disable(button, running);
    bandwidthsNote.textContent = view.model.get("bandwidths_label") ?? "";
    bandwidthsRow.hidden = !any || !bandwidthsNote.textContent || Boolean(view.model.get("frozen"));
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
