// Above the list of inputs: what is listed, in which order, layout and unit.
import { attr, debounce, focused, h, uid } from "./dom.ts";
import type { View } from "./model.ts";
import { EVERYTHING, type Page, type Query, SORTS, type Sort } from "./rows.ts";
import type { Summary } from "./summary.ts";

/** A select of named choices. */
function choose(label: string, choices: Record<string, string>, title: string): HTMLSelectElement {
  const select = h("select", { class: "isn-input", "aria-label": label, title });
  select.append(...Object.entries(choices).map(([value, words]) => h("option", { value }, words)));
  return select;
}

/** The unit of the shading, bits or nats: the trait `unit`. */
export function unitSelect(view: View): HTMLSelectElement {
  const unit = choose("Unit of information", { bits: "bits", nats: "nats" }, "The unit of the shading");
  unit.addEventListener("change", () => view.write("unit", unit.value));
  view.follow(["unit"], () => {
    unit.value = view.model.get("unit") || "bits";
  });
  return unit;
}

export interface Toolbar {
  element: HTMLElement;
  unit: HTMLElement;
  faults: HTMLElement;
}

/** Filter, order, layout and unit: all of them traits, so that two views of a gallery agree. */
export function toolbar(view: View): Toolbar {
  const filterId = uid("filter");
  const filter = h("input", { class: "isn-input isn-filter", id: filterId, type: "search", placeholder: "Filter by text" });
  const regex = h("button", { type: "button", class: "isn-button isn-regex", "aria-pressed": "false", title: "Read the filter as a regular expression", "aria-label": "Regular expression" }, ".*");
  const inside = h("input", { type: "checkbox" });
  const insideWords = h("span");
  const sort = choose("Sort the inputs", SORTS, "The order of the inputs");
  const layout = choose("Layout of the inputs", { auto: "layout: auto", aligned: "aligned", text: "as text" }, "Under the tokens of the picked input, or as running text");
  const unit = unitSelect(view);
  const faults = h("p", { class: "isn-note isn-filter-fault", role: "alert" });
  const query = (): Query => ({ ...EVERYTHING, ...view.model.get("query") });
  // With what stands in the filter by now: a click may come before the pause after typing is over.
  const change = (part: Partial<Query>) => view.write("query", { ...query(), text: filter.value, ...part });
  filter.addEventListener("keydown", (event) => event.stopPropagation());
  filter.addEventListener(
    "input",
    debounce(150, view.safely(() => change({ text: filter.value })), view.signal),
  );
  regex.addEventListener("click", () => change({ regex: !query().regex }));
  inside.addEventListener("change", () => change({ inside: inside.checked }));
  sort.addEventListener("change", () => change({ sort: sort.value as Sort }));
  layout.addEventListener("change", () => view.write("layout", layout.value));
  view.follow(["query"], () => {
    const now = query();
    if (filter.value !== now.text && focused(filter) !== filter) filter.value = now.text;
    attr(regex, "aria-pressed", now.regex ? "true" : "false");
    inside.checked = now.inside;
    sort.value = now.sort;
  });
  view.follow(["layout"], () => {
    layout.value = view.model.get("layout") || "auto";
  });
  view.follow(["summary"], () => {
    const summary: Summary | null = view.model.get("summary");
    insideWords.textContent = ` inside the ball (${summary?.inside ?? 0})`;
  });
  view.follow(["first_page"], () => {
    const page: Page | null = view.model.get("first_page");
    unit.hidden = !page?.rows.some((row) => row.info.some((value) => value != null)); // neighbours have no generator
  });
  const label = h("label", { for: filterId, class: "isn-hidden" }, "Filter by text");
  const element = h("div", { class: "isn-row isn-toolbar" }, label, filter, regex, h("label", { class: "isn-check" }, inside, insideWords), sort, layout);
  return { element, unit, faults };
}
