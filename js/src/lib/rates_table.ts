// The rates of the hypotheses as a table, all measurements so far, and all of it as a CSV file.
// Traits: rows, measured, curves, place, chance_note, doubt, frozen.
import type { Point } from "./curves.ts";
import { h, replace, uid } from "./dom.ts";
import { csv, save } from "./download.ts";
import type { View } from "./model.ts";
import type { Rpc } from "./rpc.ts";
import { number } from "./shade.ts";

export interface Estimate {
  fcr: number | null;
  low: number | null;
  high: number | null;
  chance: number | null;
  /** The share without weights, and how far the rate is above chance: 0 at chance, 1 at full agreement. */
  plain: number | null;
  star: number | null;
  n: number;
  /** Of the one inversion that it is of. */
  verdict?: string | null;
  p_value?: number | null;
  /** What to beware of, of a measurement across inputs. */
  notes?: string | null;
}

/** Whether some of the inversions behind a rate are not to be believed, in the words of `reports.UNRELIABLE`. */
export const weak = (notes: unknown): boolean => String(notes ?? "").startsWith("Not to be relied on");

/** Whether the bandwidth does not resolve the site that a rate is of, in the words of `reports.COARSE`. */
export const coarse = (notes: unknown): boolean => String(notes ?? "").includes("Coarse here");

/** The sentence of the notes that says why a rate is not to be relied on, and all that follows it. */
const doubted = (notes: unknown): string => (weak(notes) ? String(notes).split(/(?<=\.)\s/)[0]! : "");
const rest = (notes: unknown): string => String(notes ?? "").slice(doubted(notes).length).trim();

export interface HypothesisRow {
  name: string;
  label: string | null;
  here: Estimate | null;
  across: Estimate | null;
  note: string | null;
  /** What else to know, such as where a hypothesis raises. */
  remark?: string | null;
  /** What it is of, in words, where that is known. */
  description?: string | null;
}

export function interval(estimate: Estimate | null): string {
  if (!estimate || estimate.fcr == null) return "\u2013";
  const range = estimate.low == null ? "" : ` (${number(estimate.low)}\u2013${number(estimate.high)})`;
  return `${number(estimate.fcr)}${range}`;
}

/** What else is known of a rate, in a quiet line below it. */
export function beside(estimate: Estimate | null): HTMLElement | null {
  if (!estimate || estimate.fcr == null) return null;
  const numbers = h("span", { class: "isn-beside", title: "FCR*: 0 at chance, 1 where all agree. Plain: all samples count alike; the rate itself weighs them" }, `FCR* ${number(estimate.star)} \u00b7 plain ${number(estimate.plain)}`);
  const notes = rest(estimate.notes);
  return notes ? h("span", null, numbers, h("span", { class: "isn-beside" }, notes)) : numbers;
}

const COLUMNS = ["hypothesis", "over", "site", "bandwidth", "input", "label", "fcr", "low", "high", "chance", "fcr_star", "fcr_plain", "n", "n_counts", "p_value", "verdict", "notes"];

/** All rates that the panel knows, as a file. */
function ratesCsv(view: View): string {
  const numbers = (rate: Estimate, counts: string) => [rate.fcr, rate.low, rate.high, rate.chance, rate.star, rate.plain, rate.n, counts, rate.p_value];
  const place: Partial<Place> = view.model.get("place") ?? {};
  const at = ({ site, bandwidth, input }: Partial<Place>) => [site ?? null, bandwidth ?? null, input ?? null];
  const doubt: string | null = view.model.get("doubt") || null;
  const here = ((view.model.get("rows") ?? []) as HypothesisRow[]).filter((row) => row.here).map((row) => [row.name, "this input", ...at(place), row.label, ...numbers(row.here!, "effective samples"), row.here!.verdict ?? null, doubt]);
  const across = ((view.model.get("measured") ?? []) as Measured[]).map((one) => [one.name, "across inputs", ...at(one), null, ...numbers(one, "inputs"), null, one.notes ?? null]);
  const curves = ((view.model.get("curves") ?? []) as Point[]).map((one) => [one.name, "this input, across bandwidths", ...at({ ...place, bandwidth: one.bandwidth }), null, ...numbers(one, "effective samples"), one.verdict, null]);
  return csv(COLUMNS, [...here, ...across, ...curves]);
}

export function ratesTable(view: View, rpc: Rpc): HTMLElement {
  const body = h("tbody");
  const head = ["hypothesis", "value here", "FCR, this input", "chance", "FCR, across inputs", "chance", h("span", { class: "isn-hidden" }, "remove")].map((text, index) => h("th", { scope: "col", class: index === 4 || index === 5 ? "isn-across" : null }, text));
  const id = uid("fcr");
  const words = h("div", { class: "isn-note isn-caption", id });
  const special = h("p", { class: "isn-note isn-chance-note" });
  const follows = h("p", { class: "isn-note" }, "A rate above chance may follow from what the activation fixes otherwise: where both of two names are held, one in two inputs agrees on which is meant by luck. Chance is of inputs that need not have them.");
  const caption = h("div", null, special, follows, h("details", { class: "isn-terms" }, h("summary", null, "What FCR and chance mean"), words));
  view.follow(["chance_note"], () => {
    const note: string = view.model.get("chance_note") ?? "";
    const line = (term: string, words: string) => h("p", null, h("strong", null, term), ` ${words}`);
    special.textContent = note;
    special.hidden = !note;
    replace(
      words,
      line("FCR", "(feature consistency rate): the share of the inputs found that agree with the picked one, weighted (one that weighs more than a share of 1/\u221an counts as that much), copies of it left out; with its 95 % interval. FCR* is 0 at chance and 1 where all agree; plain counts all samples alike."),
      line("Chance", `is the same share for unrelated inputs: across inputs, the other picks, which are like this one; ${note ? "for this input, as said above." : "for this input, draws from P(X) for which the hypothesis is defined, which have less in common with it and are easier to beat."} A sample for which a hypothesis is not defined counts as not agreeing, in chance too. Where a hypothesis is yes or no, two inputs for which it is no agree: chance is high where it is seldom yes.`),
      line("The interval", "of this input is Wilson\u2019s, for as many samples as count. Across inputs it is a bootstrap over them, and near 0 or 1, where that sees too little, Wilson\u2019s, which is wider."),
      line("One input or many?", "A rate across inputs is the one to quote; that of this input is about this input alone, and all of them are at this \u03b5."),
    );
  });
  const sheet = h("table", { class: "isn-table", "aria-describedby": id }, h("thead", null, h("tr", null, ...head)), body);
  const file = h("button", { type: "button", class: "isn-link", on: { click: () => save("rates.csv", "text/csv", ratesCsv(view)) } }, "Save the rates as CSV");
  const taken = (which: (row: HypothesisRow) => boolean) => () => {
    view.root.querySelector<HTMLElement>(".isn-add select, .isn-add button")?.focus({ preventScroll: true }); // the link may go
    for (const row of ((view.model.get("rows") ?? []) as HypothesisRow[]).filter(which)) rpc.request("remove", { name: row.name }).catch((error) => view.fail(error));
  };
  const nowhere = (row: HypothesisRow) => row.label == null && !row.note;
  const all = h("button", { type: "button", class: "isn-link", on: { click: taken(() => true) } }, "Remove all");
  const undefinedOnes = h("button", { type: "button", class: "isn-link", on: { click: taken(nowhere) } });
  const element = h("div", { class: "isn-table-part" }, h("div", { class: "isn-table-box", tabindex: "0", role: "region", "aria-label": "Rates" }, sheet), h("div", { class: "isn-downloads" }, h("span", { class: "isn-removals" }, undefinedOnes, all), file), caption);
  const doubt = h("p", { class: "isn-remark" });
  element.prepend(doubt);
  view.follow(["rows", "doubt"], () => {
    const any = ((view.model.get("rows") ?? []) as HypothesisRow[]).some((row) => row.here?.fcr != null);
    const grey: string = any ? (view.model.get("doubt") ?? "") : "";
    const across = [...new Set(((view.model.get("rows") ?? []) as HypothesisRow[]).map((row) => doubted(row.across?.notes)).filter(Boolean))];
    const spread = across.length ? `The rates across inputs are grey. ${across.join(" ")} Another bandwidth, or a generator trained for longer, may do better.` : "";
    doubt.textContent = [grey, spread].filter(Boolean).join(" ");
    doubt.hidden = !doubt.textContent;
    const here = !grey ? "isn-cell-number" : "isn-cell-number isn-doubtful";
    const rows: HypothesisRow[] = view.model.get("rows") ?? [];
    element.hidden = rows.length === 0;
    const lost = rows.filter(nowhere).length;
    all.hidden = rows.length < 2 || Boolean(view.model.get("frozen"));
    undefinedOnes.hidden = lost === 0 || lost === rows.length || all.hidden;
    undefinedOnes.textContent = `Remove ${lost === 1 ? "the one that is" : `the ${lost} that are`} undefined here`;
    sheet.classList.toggle("isn-no-across", !rows.some((row) => row.across)); // nothing was measured there yet
    const lines = rows.map((row) => {
      const remove = () => rpc.request("remove", { name: row.name }).catch((error) => view.fail(error));
      const ofThis = row.note
        ? [h("td", { colspan: 3, class: "isn-note" }, row.note)]
        : [
            h("td", { class: "isn-mono" }, row.label ?? "undefined"),
            h("td", { class: here }, interval(row.here), beside(row.here)),
            h("td", { class: "isn-cell-number isn-quiet" }, row.here ? number(row.here.chance) : "\u2013"),
          ];
      const cells = [
        ...ofThis,
        h("td", { class: `isn-across isn-cell-number${weak(row.across?.notes) ? " isn-doubtful" : ""}` }, interval(row.across), beside(row.across)),
        h("td", { class: "isn-across isn-cell-number isn-quiet" }, row.across ? number(row.across.chance) : "\u2013"),
      ];
      const button = view.model.get("frozen") ? null : h("button", { type: "button", class: "isn-icon-button", "aria-label": `Remove ${row.name}`, on: { click: remove } }, "\u2715");
      return h("tr", null, h("th", { scope: "row" }, row.name, row.description && row.description !== row.name ? h("span", { class: "isn-beside" }, row.description) : null, row.remark ? h("span", { class: "isn-beside isn-row-remark" }, row.remark) : null), ...cells, h("td", null, button));
    });
    body.replaceChildren(...lines);
  });
  return element;
}

/** What a rate is of. */
interface Place {
  site: string;
  bandwidth: number;
  input: string;
}

export interface Measured extends Estimate, Place {
  name: string;
  where: string;
}

/** Every measurement so far, of whatever was picked when it was made. */
export function history(view: View): HTMLElement {
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
          h("td", { class: weak(one.notes) ? "isn-cell-number isn-doubtful" : "isn-cell-number" }, interval(one), weak(one.notes) ? h("span", { class: "isn-beside" }, doubted(one.notes)) : null, beside(one)),
          h("td", { class: "isn-cell-number isn-quiet" }, number(one.chance)),
          h("td", { class: "isn-cell-number isn-quiet" }, number(one.p_value, 3)),
        ),
      ),
    );
  });
  return box;
}
