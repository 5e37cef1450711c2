// SiteSweep: hypotheses at all sites of a model, as heat maps and as a table; a click on a cell or a line goes to its
// site. Traits: rows, where, partial, site, came_from, chart, status, can_sweep, picks, choices, label, note, stale, code, frozen, error.
import { child } from "./lib/child.ts";
import { codeBox } from "./lib/code.ts";
import { disable, h, replace, uid } from "./lib/dom.ts";
import { csv, save } from "./lib/download.ts";
import type { View } from "./lib/model.ts";
import { framed } from "./lib/more_right.ts";
import { errorBox, widget } from "./lib/mount.ts";
import { progressBar } from "./lib/progress.ts";
import { coarse, weak } from "./lib/rates_table.ts";
import { Rpc } from "./lib/rpc.ts";
import { number } from "./lib/shade.ts";
import { keepStill } from "./lib/still.ts";

type Value = string | number | null;

interface Rate {
  site: string;
  feature: string;
  fcr: number | null;
  [column: string]: Value;
}

/** Lines of the table; the file has all. */
const SHOWN = 60;

/** The rates from the highest above chance to the lowest; those without an estimate last. */
export function ranked(rows: Rate[]): Rate[] {
  const star = ({ fcr_star }: Rate) => (typeof fcr_star === "number" ? fcr_star : -Infinity);
  return [...rows].sort((a, b) => star(b) - star(a));
}

function starter(view: View, rpc: Rpc): { element: HTMLElement; start: HTMLButtonElement } {
  const id = uid("sweep");
  const start = h("button", { type: "button", class: "isn-button", "aria-describedby": id, on: { click: () => rpc.request("sweep").catch(() => undefined) } }, "Sweep all sites");
  const picks = h("select", { class: "isn-input", "aria-label": "Picked inputs at each site" });
  picks.addEventListener("change", () => view.write("picks", Number(picks.value)));
  const words = h("span", { class: "isn-note", id });
  const row = h("div", { class: "isn-row isn-sweep-start" }, start, h("label", { class: "isn-row isn-note" }, "inputs per site", picks), words);
  const empty = h("p", { class: "isn-empty isn-note" });
  view.follow(["picks", "choices"], () => {
    const now: number = view.model.get("picks");
    const choices = [...new Set([...((view.model.get("choices") ?? []) as number[]), now])].sort((a, b) => a - b);
    replace(picks, ...choices.map((choice) => h("option", { value: choice }, choice)));
    picks.value = String(now);
  });
  view.follow(["can_sweep", "label", "rows", "status", "note"], () => {
    const can = Boolean(view.model.get("can_sweep"));
    const frozen = Boolean(view.model.get("frozen"));
    row.hidden = !can || frozen;
    const label: string = view.model.get("label") ?? "";
    empty.hidden = can || frozen || ((view.model.get("rows") ?? []) as Rate[]).length > 0;
    empty.textContent = can ? "" : label || "Once an activation is inverted, its hypotheses can be measured at every layer, component and head here.";
    disable(start, Boolean(view.model.get("status")?.running));
    words.textContent = label;
    start.textContent = view.model.get("note") ? "Go on with the sweep" : "Sweep all sites";
  });
  return { element: h("div", null, row, empty), start };
}

const COLUMNS = ["site", "layer", "kind", "head", "feature", "bandwidth", "fcr", "fcr_low", "fcr_high", "chance", "fcr_star", "p_value", "q_value", "bits", "ess_ratio", "n_groups", "n_undefined", "notes"];

function table(view: View, rpc: Rpc): HTMLElement {
  const title = h("summary");
  const body = h("tbody");
  const rest = h("p", { class: "isn-note" });
  const head = ["site", "hypothesis", "FCR", "chance", "FCR*", "q", "bits", "ESS/n"].map((text) => h("th", { scope: "col" }, text));
  const sheet = h("table", { class: "isn-table" }, h("thead", null, h("tr", null, ...head)), body);
  const box = h("details", { class: "isn-history" }, title, h("div", { class: "isn-table-box isn-long-table", tabindex: "0", role: "region", "aria-label": "Rates at all sites" }, sheet), rest);
  const file = h(
    "button",
    {
      type: "button",
      class: "isn-link",
      on: {
        click: () => {
          const rows: Rate[] = view.model.get("rows") ?? [];
          save("sweep.csv", "text/csv", csv(COLUMNS, rows.map((row) => COLUMNS.map((column) => row[column] ?? null))));
        },
      },
    },
    "Save the sweep as CSV",
  );
  view.follow(["rows"], () => {
    const rows = ranked(view.model.get("rows") ?? []);
    title.textContent = `The same as a table (${rows.length})`;
    const some = rows.length > SHOWN ? `The ${SHOWN} highest above chance; the file has all. ` : "";
    const doubt = rows.some(({ notes }) => weak(notes)) ? "\u2020 Not to be relied on: point at the line for why. " : "";
    const little = rows.some(({ notes }) => coarse(notes)) ? "\u2021 \u03b5 is coarse there: a low rate says little." : "";
    rest.textContent = `${some}${doubt}${little}`.trim();
    rest.hidden = !rest.textContent;
    const frozen = Boolean(view.model.get("frozen"));
    const go = (site: string, feature: string) => () => rpc.request("go", { site, feature }).catch((error) => view.fail(error));
    const digits = (value: Value | undefined, places = 2) => h("td", { class: "isn-cell-number" }, number(typeof value === "number" ? value : null, places));
    const lines = rows.slice(0, SHOWN).map((row) => {
      const range = typeof row.fcr_low === "number" && row.fcr != null ? ` (${number(row.fcr_low)}\u2013${number(row.fcr_high as number)})` : "";
      const site = frozen ? row.site : h("button", { type: "button", class: "isn-link", title: "Go to this site", on: { click: go(row.site, row.feature) } }, row.site);
      return h(
        "tr",
        row["notes"] ? { title: row["notes"] } : null,
        h("th", { scope: "row", class: "isn-mono" }, site),
        h("td", null, row.feature),
        h("td", { class: "isn-cell-number" }, `${number(row.fcr)}${range}${weak(row["notes"]) ? "\u2009\u2020" : ""}${coarse(row["notes"]) ? "\u2009\u2021" : ""}`),
        ...[digits(row["chance"]), digits(row["fcr_star"]), digits(row["q_value"], 3), digits(row["bits"], 1), digits(row["ess_ratio"])],
      );
    });
    body.replaceChildren(...lines);
  });
  return h("div", { class: "isn-sweep-table" }, h("div", { class: "isn-downloads" }, file), box);
}

/** The largest q-value of what is told from chance. */
const TOLD = 0.05;
/** Picks from which on something can be told from chance among many sites. */
const FEW = 10;

/** The best of each hypothesis that is told from chance, where its inversions can be relied on, in words; of the first few. */
export function best(rows: Rate[], partial = false): string {
  const found = new Map<string, Rate>();
  const inDoubt = new Set<string>();
  for (const row of ranked(rows)) {
    const [star, q] = [row["fcr_star"], row["q_value"]];
    if (typeof star !== "number" || star <= 0 || (typeof q === "number" && q > TOLD)) continue;
    if (weak(row["notes"])) inDoubt.add(row.feature);
    else if (!found.has(row.feature)) found.set(row.feature, row);
  }
  const range = (row: Rate) => (typeof row["fcr_low"] === "number" ? ` (${number(row["fcr_low"])}\u2013${number(row["fcr_high"] as number)})` : "");
  const words = [...found.values()].slice(0, 4).map((row) => `${row.feature}: ${row.site}, FCR ${number(row.fcr)}${range(row)}, chance ${number(row["chance"] as number | null)}`);
  const names = new Set(rows.filter((row) => typeof row["fcr_star"] === "number").map((row) => row.feature));
  const nowhere = [...names].filter((name) => !found.has(name));
  const sites = new Set(rows.map((row) => row.site)).size;
  const told = words.length ? `Highest above chance, of what can be relied on${sites > 1 ? ` (the highest of ${sites} sites, which tends to be too high)` : ""}: ${words.join("; ")}.` : "";
  const rest = nowhere.length === 0 ? "" : `${nowhere.slice(0, 4).join(", ")}${nowhere.length > 4 ? ` and ${nowhere.length - 4} more` : ""}: nowhere ${partial ? "so far " : ""}surely above chance${nowhere.some((name) => inDoubt.has(name)) ? " where it can be relied on" : ""}.`;
  const count = (name: string) => rows.find((row) => row.feature === name && Number(row["n_undefined"]) > 0 && Number(row["n_groups"] ?? 0) < FEW);
  const undefined_ = [...names].map(count).filter((row) => row != null).map((row) => `${row.feature} is undefined for ${row["n_undefined"]}`);
  const few = undefined_.length ? `Of the inputs ${undefined_.slice(0, 4).join(", ")}: from few inputs little can be told from chance.` : "";
  const blurred = new Set(rows.filter((row) => coarse(row["notes"])).map((row) => row.site)).size;
  const little = blurred ? `At ${blurred === 1 ? "one site" : `${blurred} sites`} one direction holds most of what varies, so that this \u03b5 is coarse for all else: a low rate there does not say that the hypothesis is not held.` : "";
  return [told, rest, few, little].filter(Boolean).join(" ");
}

export function drawSiteSweep(view: View): void {
  const rpc = new Rpc(view);
  const { element: starting, start } = starter(view, rpc);
  const faults = h("div");
  const note = h("p", { class: "isn-note", role: "status" });
  const where = h("p", { class: "isn-note" });
  const highest = h("p", { class: "isn-note" });
  view.follow(["rows", "partial"], () => {
    highest.textContent = best(view.model.get("rows") ?? [], Boolean(view.model.get("partial")));
    highest.hidden = !highest.textContent;
  });
  const here = h("span");
  const back = h("button", { type: "button", class: "isn-link isn-back", on: { click: () => rpc.request("back").catch((error) => view.fail(error)) } });
  const gone = h("p", { class: "isn-note isn-gone", role: "status" }, here, " ", back);
  view.follow(["site", "came_from"], () => {
    const from: string = view.model.get("came_from") ?? "";
    gone.hidden = !from || Boolean(view.model.get("frozen"));
    here.textContent = from ? `Now at ${view.model.get("site")}: its inputs are listed above.` : "";
    back.textContent = `\u2190 back to ${from}`;
  });
  const stale = h("p", { class: "isn-other-input" });
  const chart = child(view, "chart", "the heat maps");
  chart.classList.add("isn-chart", "isn-heat");
  const { frame: charts } = framed(chart, view.signal);
  const result = h("div", { class: "isn-sweep-result" }, stale, where, highest, charts, gone, table(view, rpc), codeBox(view, "Copy this sweep as Python"));
  // A click goes to a site: what is found there stands above, and may be higher or lower than what was there.
  chart.addEventListener("click", () => keepStill(chart, view.signal));
  result.addEventListener("click", (event) => (event.target as Element).closest("tbody button, .isn-back") && keepStill(chart, view.signal));
  view.root.append(starting, faults, progressBar(view, "status", () => rpc.request("stop").catch((error) => view.fail(error)), start), note, result);
  view.follow(["note"], () => {
    note.textContent = view.model.get("note") ?? "";
    note.hidden = !note.textContent;
  });
  view.follow(["rows", "where"], () => {
    result.hidden = ((view.model.get("rows") ?? []) as Rate[]).length === 0;
    const words: string = view.model.get("where") ?? "";
    const act = view.model.get("frozen") ? "" : " Click a cell to go to its site.";
    where.textContent = `${words ? `Measured at ${words}.` : ""}${act}`.trim();
  });
  view.follow(["stale"], () => {
    stale.textContent = view.model.get("stale") ?? "";
    stale.hidden = !stale.textContent;
  });
  view.follow(["error"], () => {
    const error = view.model.get("error");
    replace(faults, error?.message ? errorBox(error, () => rpc.request("dismiss").catch(() => undefined)) : null);
  });
}

export default widget("sweep", drawSiteSweep);
