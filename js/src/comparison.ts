// Comparison: two inversions side by side, what each fixes that the other does not, and the inputs of one or of both.
// Traits: words, first, second, listed, unit, pages, revision, status, code; a saved page has all_rows and frozen too.
import { codeBox } from "./lib/code.ts";
import { type Picture, contrastMap } from "./lib/contrast_map.ts";
import { attr, h, replace, uid } from "./lib/dom.ts";
import { csv, pictureButtons, save, svgText, titled } from "./lib/download.ts";
import type { View } from "./lib/model.ts";
import { framed } from "./lib/more_right.ts";
import { errorBox, widget } from "./lib/mount.ts";
import { pickText } from "./lib/pick.ts";
import { progressBar } from "./lib/progress.ts";
import { focusOn, rove } from "./lib/rove.ts";
import { PAGE, type Row, allRows, inFile } from "./lib/rows.ts";
import { Rpc, stopped } from "./lib/rpc.ts";
import { type Layout, type RowView, SHARED, type Style, columns, gap, gridColumns, rowView, standUnder } from "./lib/sample_row.ts";
import { LN2, scaleKey, tokenText } from "./lib/shade.ts";
import { STATES, stateKey } from "./lib/states.ts";
import { type Summary, distancesView, summaryView, whereOf } from "./lib/summary.ts";
import { unitSelect } from "./lib/toolbar.ts";

type Name = "first" | "second";
type Listed = "all" | "only" | "both";

interface Side extends Summary {
  name: Name;
  counts: Record<Listed, number>;
  /** Of each picked token, in words, how it differs from what the other fixes; empty where it does not. */
  differs: string[];
}

interface Pair {
  which: string;
  words: string;
  first: number | null;
  second: number | null;
}

interface Words {
  sentence: string;
  overlap: string;
  doubt: string;
  pairs: Pair[];
  picture: Picture;
}

interface Part {
  revision: number;
  listed: Listed;
  start: number;
  matching: number;
  rows: Row[];
}

const NAMES: Name[] = ["first", "second"];
const TITLES: Record<Name, string> = { first: "First", second: "Second" };
const LISTS: Record<Listed, [label: string, title: string]> = {
  all: ["All inputs", "All inputs that were drawn for each"],
  only: ["Only here", "Inputs inside this ball and not inside the other"],
  both: ["In both", "Inputs inside both balls"],
};
/** Tokens of a picked input up to which its columns fit side by side with the other's, and up to which it heads its list. */
const COLUMNS = 12;
const MOST_IN_HEAD = 100;
const CSV_COLUMNS = ["side", "picked", "site", "bandwidth", "rank", "text", "d", "d_other", "place", "weight", "count", "log_q", "log_no_condition", "log_prior"];
/** A sign of inequality that is drawn, as few fonts have one: many browsers would put it together from two. */
const unequal = () => h("span", { class: "isn-unequal", "aria-hidden": "true" });
const APART = ["first", "second", "apart"];

/** One token of a picked input with its state, and a mark where the other activation does something else with it. */
function slot(side: Side, index: number, differs: string): HTMLElement {
  const state = side.fixed?.states[index] ?? "";
  const [mark, words] = STATES[state] ?? ["", ""];
  const title = [differs || words, side.fixed?.words[index]].filter(Boolean).join(": ");
  return h(
    "span",
    { class: `isn-slot isn-state-${state || "unknown"}${differs ? " isn-differs" : ""}`, title },
    mark ? h("span", { class: "isn-state-mark", "aria-hidden": "true" }, mark) : null,
    h("span", { class: "isn-slot-token" }, ...tokenText(side.tokens[index] ?? "")),
    h("span", { class: "isn-hidden" }, ` ${differs || words}`),
  );
}

/** Both picked inputs, one under the other: tokens that stand for each other in one column, differences framed. */
function strip(words: Words, sides: Record<Name, Side>, ended: AbortSignal): HTMLElement | null {
  if (words.pairs.length === 0) return null;
  const line = (name: Name) =>
    h(
      "tr",
      null,
      h("th", { scope: "row" }, TITLES[name]),
      ...words.pairs.map((pair) => {
        const differs = APART.includes(pair.which) ? pair.words : "";
        const index = pair[name];
        return h("td", { class: differs ? "isn-differs-cell" : null }, index == null ? gap() : slot(sides[name], index, differs));
      }),
    );
  const marks = words.pairs.map((pair) => h("td", { class: "isn-differs-mark" }, APART.includes(pair.which) ? unequal() : null));
  const box = h(
    "div",
    { class: "isn-strip", tabindex: "0", role: "region", "aria-label": "What each fixes, token by token" },
    h("table", null, h("caption", { class: "isn-hidden" }, "The picked inputs, token beside token"), line("first"), line("second"), h("tr", { "aria-hidden": "true" }, h("td"), ...marks)),
  );
  return framed(box, ended).frame;
}

function pictureOf(picture: Picture, sides: Record<Name, Side>, fault: (error: unknown) => void): HTMLElement {
  const map = contrastMap(picture);
  const words = `First: ${whereOf(sides.first)}\nSecond: ${whereOf(sides.second)}`;
  return h("figure", { class: "isn-figure-box" }, map, pictureButtons(() => "contrast", async () => titled(svgText(map), words, map), fault));
}

function listHead(side: Side, other: Name, layout: Layout): HTMLElement {
  const cell = (text: string, title: string) => h("span", { role: "columnheader", title }, text);
  const tokens = side.tokens.map((_, index) => slot(side, index, side.differs[index] ?? ""));
  const input = h("span", { class: `isn-sample-text${layout === "aligned" ? " isn-slots" : " isn-slots-text"}`, role: "columnheader", "aria-label": "input, under the picked one" }, ...tokens);
  return h(
    "div",
    { role: "rowgroup", class: "isn-samples-head" },
    h(
      "div",
      { class: "isn-sample isn-sample-head", role: "row" },
      h("span", { role: "columnheader" }, h("span", { class: "isn-hidden" }, "details")),
      cell("d", "Distance to this activation, per coordinate, in standardised units"),
      cell(`d to ${other}`, `Distance to the ${other} activation; ${SHARED} where that is inside its ball`),
      cell("weight", "Share of this posterior"),
      side.tokens.length <= MOST_IN_HEAD ? input : cell("input", "The input, cut at the picked token"),
    ),
  );
}

interface Column {
  element: HTMLElement;
  show(side: Side, part: Part, max: number): void;
}

/** One side: its summary, and its list of inputs under the picked one. */
function column(view: View, name: Name, more: (start: number) => Promise<Part | null>): Column {
  const other = name === "first" ? "second" : "first";
  const id = uid("side");
  const pick = h("span");
  const about = h("div");
  const distances = h("div");
  const list = h("div", { class: "isn-samples", role: "table", "aria-label": `Inputs near the ${name}` });
  const { frame, look } = framed(list, view.signal);
  const state = h("span", { class: "isn-note", role: "status" });
  const button = h("button", { type: "button", class: "isn-button" });
  let views: RowView[] = [];
  let [style, revision, listed]: [Style | null, number, Listed] = [null, -1, "all"];
  rove(list, () => views);
  const append = (part: Part) => {
    const group = h("div", { class: "isn-samples-page", role: "rowgroup", style: `--isn-rows: ${part.rows.length}` });
    for (const row of part.rows) {
      const drawn = rowView(row, style!, null);
      drawn.toggle.tabIndex = views.length === 0 ? 0 : -1;
      drawn.element.addEventListener("click", (event) => {
        if ((event.target as Element).closest(".isn-detail") || getSelection()?.toString()) return;
        drawn.openOrClose();
        focusOn(drawn, views, true);
      });
      group.append(drawn.element);
      views.push(drawn);
    }
    list.append(group);
    const rest = part.matching - views.length;
    button.hidden = rest <= 0;
    button.textContent = `Show ${Math.min(PAGE, rest)} more`;
    state.textContent = part.matching === 0 ? (listed === "both" ? "No input is near both." : "No input is here only.") : `${views.length} of ${part.matching} different inputs`;
  };
  button.addEventListener("click", () =>
    more(views.length).then(
      (part) => part && part.revision === revision && part.listed === listed && part.start === views.length && append(part),
      (error) => stopped(error) || view.fail(error),
    ),
  );
  const element = h(
    "section",
    { class: `isn-compared isn-compared-${name}`, "aria-labelledby": id },
    h("h4", { class: "isn-compared-title", id }, h("span", { class: "isn-compared-name" }, TITLES[name]), pick),
    about,
    frame,
    h("div", { class: "isn-row" }, state, button),
    distances,
  );
  return {
    element,
    show(side, part, max) {
      if (part.revision !== revision) {
        replace(pick, pickText(side));
        replace(about, summaryView(side, { picture: false }));
        replace(distances, distancesView(side));
      }
      [views, revision, listed] = [[], part.revision, part.listed];
      const unit: string = view.model.get("unit") || "bits";
      const layout: Layout = side.tokens.length <= COLUMNS && standUnder(part.rows, side.tokens.length) ? "aligned" : "text";
      style = { unit, layout, max, tokens: side.tokens, columns: columns(part.rows, side.tokens), exact: side.prior_is_exact };
      list.replaceChildren(listHead(side, other, layout));
      list.classList.toggle("isn-aligned", layout === "aligned");
      list.style.setProperty("--isn-slots", gridColumns(style.columns));
      list.scrollTop = 0;
      append(part);
      look();
    },
  };
}

/** Which inputs both lists show. */
function tabs(view: View): HTMLElement {
  const buttons = Object.entries(LISTS).map(([listed, [label, title]]) =>
    h("button", { type: "button", class: "isn-button isn-tab", title, "data-listed": listed, on: { click: () => view.write("listed", listed) } }, label),
  );
  const words = (listed: Listed) => NAMES.map((name) => `${name} ${view.model.get(name)?.counts?.[listed] ?? 0}`).join(", ");
  view.follow(["listed", "words"], () => {
    for (const button of buttons) {
      const listed = button.dataset["listed"] as Listed;
      attr(button, "aria-pressed", String(listed === view.model.get("listed")));
      replace(button, LISTS[listed][0], h("span", { class: "isn-tab-count", title: "different inputs of the first, and of the second" }, words(listed)));
    }
  });
  return h("div", { class: "isn-tabs", role: "group", "aria-label": "Which inputs are listed" }, ...buttons);
}

export function drawComparison(view: View): void {
  const rpc = new Rpc(view);
  const faults = h("div");
  const top = h("div");
  const key = h("div", { class: "isn-key" });
  const all: Row[][] | undefined = view.model.get("all_rows"); // a saved page
  const part = (side: number, listed: Listed, start: number): Part => {
    const rows = (all?.[side] ?? []).filter((row) => listed === "all" || row.place === listed);
    return { revision: view.model.get("revision"), listed, start, matching: rows.length, rows: rows.slice(start, start + PAGE) };
  };
  const more = (side: number, listed: Listed) => async (start: number) => (all ? part(side, listed, start) : rpc.request<Part | null>("page", { side, listed, start }));
  const sides = NAMES.map((name, index) => column(view, name, (start) => more(index, view.model.get("listed"))(start)));
  const ask = (method: string) => rpc.request(method).catch((error) => stopped(error) || view.fail(error));
  const file = h("button", { type: "button", class: "isn-link" }, "Save both lists as CSV");
  file.addEventListener("click", () => {
    const both: Side[] = NAMES.map((name) => view.model.get(name));
    const [listed, revision]: [Listed, number] = [view.model.get("listed"), view.model.get("revision")];
    Promise.all(NAMES.map((_, side) => allRows(more(side, listed), revision))).then(
      (lists) => {
        const lines = lists.flatMap((rows, index) => {
          const side = both[index]!;
          const of: Record<string, unknown> = { side: side.name, picked: side.text, site: side.site, bandwidth: side.bandwidth };
          return rows.map((row) => CSV_COLUMNS.map((name) => (name in of ? of[name] : row[name as keyof Row])));
        });
        save("comparison.csv", "text/csv", csv(CSV_COLUMNS.map(inFile), lines));
      },
      (error) => stopped(error) || view.fail(error),
    );
  });
  const unit = unitSelect(view);
  const close = h("button", { type: "button", class: "isn-button", on: { click: () => ask("close comparison") } }, "Close");
  const id = uid("compared");
  const title = h("h3", { class: "isn-title", id }, "Side by side");
  const body = h("div", { class: "isn-comparison-body" }, top, h("div", { class: "isn-row" }, tabs(view), key), h("div", { class: "isn-side-by-side" }, ...sides.map(({ element }) => element)), h("div", { class: "isn-row" }, file), codeBox(view, "Copy this comparison as Python"));
  const box = h("section", { class: "isn-comparison-box", "aria-labelledby": id }, h("div", { class: "isn-field-head" }, title, all ? null : close), progressBar(view, "status", () => ask("stop")), faults, body);
  const said = h("p", { class: "isn-hidden", role: "status" });
  view.root.append(box, said);
  view.follow(["error"], () => {
    const error = view.model.get("error");
    replace(faults, error?.message ? errorBox(error, () => ask("dismiss")) : null);
  });
  view.follow(["words", "status", "error"], () => {
    const has = Boolean(view.model.get("words")?.sentence);
    body.hidden = !has;
    close.hidden = !has;
    box.hidden = !has && !view.model.get("status")?.running && !view.model.get("error");
  });
  view.follow(["words"], () => {
    const words: Words | null = view.model.get("words");
    said.textContent = words?.sentence ? `Compared. ${words.sentence}` : "";
    if (!words?.sentence) {
      replace(top);
      return;
    }
    const both: Record<Name, Side> = { first: view.model.get("first"), second: view.model.get("second") };
    const beside = h("div", { class: "isn-comparison-words" }, h("p", { class: "isn-answer" }, words.sentence), h("p", { class: words.doubt ? "isn-doubtful" : null }, words.overlap), strip(words, both, view.signal));
    replace(top, h("div", { class: "isn-comparison-top" }, beside, pictureOf(words.picture, both, (error) => view.fail(error))));
    attr(view.root, "data-isn-revision", view.model.get("revision"));
  });
  const draw = () => {
    const listed: Listed = view.model.get("listed");
    const pages: Part[] | null = all ? NAMES.map((_, side) => part(side, listed, 0)) : view.model.get("pages");
    if (!pages || !view.model.get("words")?.sentence) return;
    const both: Side[] = NAMES.map((name) => view.model.get(name));
    const states = both.flatMap((side) => side.fixed?.states ?? []);
    const differ = both.some((side) => side.differs.some(Boolean));
    const max = Math.max(...both.map((side) => side.info_max)) * (view.model.get("unit") === "nats" ? 1 : 1 / LN2); // one scale
    pages.forEach((one, side) => sides[side]!.show(both[side]!, one, max));
    replace(
      key,
      stateKey(states),
      h("span", { class: "isn-scale" }, differ ? h("span", { class: "isn-state-key" }, h("span", { class: "isn-differs-sample" }, unequal()), " differs") : null, h("span", { class: "isn-state-key" }, h("span", { class: "isn-shared-mark", "aria-hidden": "true" }, SHARED), " inside the other ball too")),
      scaleKey(max, "given the activation", view.model.get("unit") || "bits", true, true),
      unit,
    );
  };
  view.follow(all ? ["listed", "unit"] : ["pages", "unit"], draw);
}

export default widget("comparison", drawComparison);
