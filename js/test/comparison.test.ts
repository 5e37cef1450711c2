import { readFileSync } from "node:fs";
import { describe, expect, it, vi } from "vitest";
import comparisonModule from "../src/comparison.ts";
import pinsModule from "../src/pins.ts";
import { contrastMap } from "../src/lib/contrast_map.ts";
import { svgText } from "../src/lib/download.ts";
import { shortSite } from "../src/lib/pick.ts";
import { choose, key, mount, row, summary, watchDownloads } from "./fake.ts";

const IDLE = { running: false, done: 0, total: 0, message: "", remaining_s: null, stopping: false };
const NASTY = "<img src=x onerror=alert(1)>\u202e";

const side = (name: string, differs: string[], extra: Record<string, unknown> = {}) =>
  summary({
    name,
    differs,
    counts: { all: 3, only: 2, both: 1 },
    remarks: [],
    fixed: { sentence: `the ${name} fixes`, states: ["", "pinned", name === "first" ? "free" : "pinned"], words: ["", "90 %", "10 %"] },
    ...extra,
  });

const rows = (name: string) => [
  row(0, { d_other: 0.05, in_other: true, place: "both", text: `${name} both` }),
  row(1, { d_other: 0.9, in_other: false, place: "only", text: `${name} only` }),
  row(2, { d_other: null, in_other: false, place: "out", text: `${name} out` }),
];

const part = (name: string, extra: Record<string, unknown> = {}) => ({ revision: 1, listed: "all", start: 0, matching: 3, rows: rows(name), ...extra });

const state = (extra: Record<string, unknown> = {}) => ({
  words: {
    sentence: `Only the second fixes \u201c${NASTY}\u201d.`,
    overlap: "Of the inputs near the first, 3% are near the second too.",
    doubt: "",
    pairs: [
      { which: "both", words: "both fix it", first: 1, second: 1 },
      { which: "second", words: "the second fixes it", first: 2, second: 2 },
      { which: "neither", words: "neither", first: null, second: 0 },
    ],
    picture: { points: [[0.1, 0.05, "first", "both"], [0.1, 0.9, "first", "only"], [2, 2, "second", "out"]], edges: [0.2, 0.3] },
  },
  first: side("first", ["", "", "fixed in the second, not here"]),
  second: side("second", ["", "", "fixed here, not in the first"]),
  listed: "all",
  unit: "bits",
  pages: [part("first"), part("second")],
  revision: 1,
  status: { ...IDLE },
  code: "found = isn.contrast(lm, gen, first, second)",
  error: null,
  ...extra,
});

describe("Comparison", () => {
  it("shows both summaries, both lists and the sentences, as text", () => {
    const { one, all, el } = mount(comparisonModule, state());
    expect(one(".isn-comparison-words .isn-answer").textContent).toContain("<img src=x");
    expect(el.querySelector("img")).toBeNull();
    expect(all(".isn-compared").length).toBe(2);
    expect(all(".isn-compared .isn-verdict").length).toBe(2);
    expect(all(".isn-compared .isn-histogram").length).toBe(2);
    expect(all(".isn-compared-first .isn-sample:not(.isn-sample-head)").length).toBe(3);
    expect(one(".isn-code code").textContent).toContain("isn.contrast");
    expect(one(".isn-code summary").textContent).toBe("Copy this comparison as Python");
  });
  it("marks what differs by a sign and in words, in both heads and where the prompts stand together", () => {
    const { all } = mount(comparisonModule, state());
    expect(all(".isn-sample-head .isn-differs").map((slot) => slot.title)).toEqual(["fixed in the second, not here: 10 %", "fixed here, not in the first: 10 %"]);
    expect(all(".isn-strip .isn-differs").length).toBe(2);
    expect(all(".isn-strip .isn-differs-mark").map((mark) => mark.querySelector(".isn-unequal") !== null)).toEqual([false, true, false]);
    expect(all(".isn-strip tr:first-of-type td").length).toBe(3);
    expect(all(".isn-strip .isn-gap").length).toBe(1);
    expect(all(".isn-strip .isn-differs .isn-hidden").map((words) => words.textContent!.trim())).toEqual(["the second fixes it", "the second fixes it"]);
  });
  it("gives both distances of an input and marks those inside the other ball", () => {
    const { all } = mount(comparisonModule, state());
    const cells = all(".isn-compared-first .isn-sample:not(.isn-sample-head)").map((line) => [...line.children].slice(1, 4).map((cell) => cell.textContent));
    expect(cells[0]!.slice(0, 2)).toEqual(["0.000", "\u25d10.050"]);
    expect(all(".isn-compared-first .isn-shared")[0]!.getAttribute("aria-label")).toBe("inside the other ball: 0.050");
    expect(cells[1]!.slice(0, 2)).toEqual(["0.100", "0.900"]);
    expect(cells[2]![1]).toBe("\u2013");
  });
  it("chooses which inputs are listed by a shared trait, and follows it", () => {
    const { model, all, one } = mount(comparisonModule, state());
    const pressed = () => all(".isn-tab").map((tab) => tab.getAttribute("aria-pressed"));
    expect(pressed()).toEqual(["true", "false", "false"]);
    all(".isn-tab")[2]!.click();
    expect(model.saved.at(-1)).toEqual({ listed: "both" });
    expect(pressed()).toEqual(["false", "false", "true"]);
    model.update({ pages: ["first", "second"].map((name) => part(name, { listed: "both", matching: 1, rows: rows(name).slice(0, 1) })) });
    expect(all(".isn-compared-second .isn-sample:not(.isn-sample-head)").length).toBe(1);
    model.update({ listed: "only", pages: [part("first", { listed: "only", matching: 0, rows: [] }), part("second", { listed: "only", matching: 0, rows: [] })] });
    expect(one(".isn-compared-first [role=status]").textContent).toBe("No input is here only.");
  });
  it("asks for more of one side, and drops an answer about another list", async () => {
    const { model, all, one } = mount(comparisonModule, state({ pages: [part("first", { matching: 4 }), part("second")] }));
    const more = () => all(".isn-compared .isn-button").filter((button) => !button.hidden);
    expect(more().map((button) => button.textContent)).toEqual(["Show 1 more"]);
    more()[0]!.click();
    const request = model.last("page");
    expect(request.params).toEqual({ side: 0, listed: "all", start: 3 });
    await model.answer(request, part("first", { start: 3, matching: 4, rows: [row(3, { d_other: 1, in_other: false })], listed: "both" }));
    expect(all(".isn-compared-first .isn-sample:not(.isn-sample-head)").length).toBe(3);
    more()[0]!.click();
    await model.answer(model.last("page"), part("first", { start: 3, matching: 4, rows: [row(3, { d_other: 1, in_other: false })] }));
    expect(all(".isn-compared-first .isn-sample:not(.isn-sample-head)").length).toBe(4);
    expect(one(".isn-compared-first [role=status]").textContent).toBe("4 of 4 different inputs");
    expect(more()).toEqual([]);
  });
  it("moves between rows with the arrows and opens one", () => {
    const { all } = mount(comparisonModule, state());
    const toggles = all(".isn-compared-first .isn-toggle");
    expect(toggles.map((toggle) => toggle.tabIndex)).toEqual([0, -1, -1]);
    toggles[0]!.focus();
    key(toggles[0]!, "ArrowDown");
    expect(document.activeElement).toBe(toggles[1]);
    toggles[1]!.click();
    expect(all(".isn-compared-first .isn-detail").length).toBe(1);
  });
  it("shades both lists on one scale", () => {
    const { all } = mount(comparisonModule, state({ second: side("second", ["", "", ""], { info_max: 4 }) }));
    const shares = all(".isn-compared-first .isn-sample:not(.isn-sample-head):first-child .isn-sample-token, .isn-compared-first .isn-samples-page .isn-sample-token").slice(0, 3).map((token) => token.style.getPropertyValue("--isn-v"));
    expect(shares[2]).toBe("0.500"); // 2 nats of at most 4, though 2 is the top of its own scale
  });
  it("shades in the chosen unit", () => {
    const { all, one, model } = mount(comparisonModule, state());
    const unit = one(".isn-key select") as HTMLSelectElement;
    expect(unit.value).toBe("bits");
    choose(unit, "nats");
    expect(model.state["unit"]).toBe("nats");
    expect(all(".isn-key .isn-scale").at(-1)!.textContent).toContain("nats");
    expect(one(".isn-key select")).toBe(unit);
  });
  it("saves both lists as CSV, all their parts, each with its side", async () => {
    const files = watchDownloads();
    const { all, model } = mount(comparisonModule, state());
    all(".isn-link").find((button) => button.textContent === "Save both lists as CSV")!.click();
    const [first, second] = model.sent.filter(({ method }) => method === "page");
    expect([first.params, second.params]).toEqual([0, 1].map((side) => ({ side, listed: "all", start: 0 })));
    await model.answer(first, part("first", { matching: 4 }));
    await model.answer(second, part("second"));
    expect(model.last("page").params).toEqual({ side: 0, listed: "all", start: 3 });
    await model.answer(model.last("page"), part("first", { matching: 4, start: 3, rows: [row(3, { d_other: 1, place: "out" })] }));
    await vi.waitFor(() => expect(files.length).toBe(1));
    const [name, text] = files[0]!;
    const lines = text.trimEnd().split("\r\n");
    expect(name).toBe("comparison.csv");
    expect(lines[0]).toMatch(/^side,picked,site,bandwidth,rank,text,d,d_other,place,/);
    expect(lines.slice(1).map((line) => line.split(",")[0])).toEqual([...Array(4).fill("first"), ...Array(3).fill("second")]);
    expect(lines[2]).toContain("first only");
  });
  it("draws what belongs together where traits come one after the other, in the order in which Python sends them", () => {
    const empty = { words: {}, first: {}, second: {}, pages: null, revision: 0, code: "" };
    const { model, all, el } = mount(comparisonModule, state(empty));
    const { first, second, code, revision, words, pages } = state() as any;
    model.updateInTurn({ first, second, code, revision, words, pages });
    expect(el.querySelector(".isn-error")).toBeNull();
    expect(all(".isn-compared-first .isn-sample:not(.isn-sample-head)").length).toBe(3);
    expect(all(".isn-compared-title").length).toBe(2);
  });
  it("lists inputs as text that do not stand under the picked one's tokens", () => {
    const apart = part("first", { rows: rows("first").map((one) => ({ ...one, at: [0, null, null] })) });
    const { all } = mount(comparisonModule, state({ pages: [apart, part("second")] }));
    expect(all(".isn-compared-first .isn-samples.isn-aligned").length).toBe(0);
    expect(all(".isn-compared-second .isn-samples.isn-aligned").length).toBe(1);
  });
  it("lists inputs of long prompts as text, under the prompt unless that is very long", () => {
    const long = (n: number) => side("first", [], { tokens: Array.from({ length: n }, (_, index) => ` t${index}`), fixed: null });
    for (const [n, slots] of [[3, 3], [13, 13], [101, 0]] as const) {
      const { all } = mount(comparisonModule, state({ first: long(n) }));
      expect(all(".isn-compared-first .isn-samples.isn-aligned").length).toBe(n > 12 ? 0 : 1);
      expect(all(".isn-compared-first .isn-sample-head .isn-slot").length).toBe(slots);
      expect(all(".isn-compared-second .isn-samples.isn-aligned").length).toBe(1);
    }
  });
  it("is not there until something is compared, and shows progress, errors and Close", async () => {
    const { model, one } = mount(comparisonModule, { ...state(), words: {}, first: {}, second: {}, pages: null });
    expect(one(".isn-comparison-box").hidden).toBe(true);
    model.update({ status: { ...IDLE, running: true, done: 3, total: 9, message: "reading" } });
    expect(one(".isn-comparison-box").hidden).toBe(false);
    expect(one(".isn-progress").textContent).toContain("reading 3 of 9");
    one(".isn-stop").click();
    expect(model.last("stop")).toBeDefined();
    model.update({ status: { ...IDLE }, error: { message: "it failed", hint: "do otherwise" } });
    expect(one(".isn-error").textContent).toContain("do otherwise");
    const { words, first, second, pages } = state();
    model.update({ error: null, words, first, second, pages });
    expect(one(".isn-comparison-body").hidden).toBe(false);
    one(".isn-field-head .isn-button").click();
    expect(model.last("close comparison")).toBeDefined();
  });
  it("lists by itself in a saved page, where nobody answers", () => {
    const { model, all } = mount(comparisonModule, state({ all_rows: [rows("first"), rows("second")], frozen: true, pages: null }));
    expect(all(".isn-compared-first .isn-sample:not(.isn-sample-head)").length).toBe(3);
    all(".isn-tab")[1]!.click();
    expect(all(".isn-compared-first .isn-sample:not(.isn-sample-head)").length).toBe(1);
    expect(all(".isn-field-head .isn-button").length).toBe(0);
    expect(model.sent.filter((message) => message.kind === "request" && message.method !== "ping")).toEqual([]);
  });
  it("leaves no listeners when its view goes", () => {
    const { model, close } = mount(comparisonModule, state());
    expect(model.listening).toBeGreaterThan(0);
    close();
    expect(model.listening).toBe(0);
  });
});

describe("the picture of a contrast", () => {
  it("has a mark an input, both edges, and what is on which side in words", () => {
    const { picture } = state().words as any;
    const svg = contrastMap(picture);
    expect(svg.querySelectorAll("circle.isn-point-first:not([r='0'])").length).toBe(3); // two inputs and the legend's
    expect(svg.querySelectorAll(".isn-ball-rule").length).toBe(2);
    expect(svg.getAttribute("aria-label")).toContain("1 near the first only, 0 near the second only, 1 near both");
    for (const mark of svg.querySelectorAll("circle")) expect(Number(mark.getAttribute("cx"))).toBeLessThanOrEqual(240);
  });
  it("names its parts over a halo that a file keeps: a text below the words, not a stroke around them", () => {
    const svg = contrastMap((state().words as any).picture);
    const labels = [...svg.querySelectorAll(".isn-ball-label")];
    expect(labels.map((label) => label.textContent)).toEqual(["only the first", "only the second", "both"]);
    for (const label of labels) {
      const below = label.previousElementSibling!;
      expect(below.getAttribute("class")).toContain("isn-halo");
      for (const name of ["x", "y", "text-anchor"]) expect(below.getAttribute(name)).toBe(label.getAttribute(name));
      expect(below.textContent).toBe(label.textContent);
    }
    expect(readFileSync("src/isn.css", "utf8")).not.toContain("paint-order");
  });
  it("keeps in its file how faint an input is that lies near neither", () => {
    const svg = contrastMap((state().words as any).picture);
    document.body.append(svg);
    svg.querySelector<SVGElement>(".isn-point-out")!.style.opacity = "0.35";
    expect(svgText(svg).match(/ opacity="0.35"/g)?.length).toBe(1);
  });
  it("does without an edge, and without inputs", () => {
    expect(contrastMap({ points: [], edges: [null, 0.2] }).querySelectorAll(".isn-ball-rule").length).toBe(1);
  });
});

describe("Pins", () => {
  const pin = (id: number | null, extra: Record<string, unknown> = {}) => ({ id, tokens: ["<bos>", "4", "+", "="], site: "blocks.3.hook_resid_post", bandwidth: 0.1, n: 64, verdict: "RELIABLE", ...extra });
  const shelf = (extra: Record<string, unknown> = {}) => ({ pins: [], shown: null, most: 8, error: null, ...extra });

  it("is not there while nothing can be pinned, and offers to pin what is shown", () => {
    const { model, el, one } = mount(pinsModule, shelf());
    const root = el.querySelector<HTMLElement>(".isn-pins")!;
    expect(root.hidden).toBe(true);
    model.update({ shown: pin(null) });
    expect(root.hidden).toBe(false);
    one(".isn-button").click();
    expect(model.last("pin")).toBeDefined();
  });
  it("says what comes next once one is pinned, and keeps the focus", () => {
    const { model, one, el } = mount(pinsModule, shelf({ shown: pin(null) }));
    one(".isn-button").focus();
    model.update({ pins: [pin(1)], shown: pin(1) });
    expect(el.textContent).toContain("Pick another token, place or bandwidth, then press Compare.");
    expect(document.activeElement).toBe(one(".isn-pin-go"));
    expect(one(".isn-pin-go").getAttribute("aria-current")).toBe("true");
    expect(el.querySelector(".isn-pin-compare")).toBeNull();
  });
  it("goes to a pin, compares it with what is shown, and removes it", async () => {
    const { model, one, el } = mount(pinsModule, shelf({ pins: [pin(7, { verdict: "LOW_ESS", tokens: ["a", NASTY] })], shown: pin(null, { bandwidth: 0.3 }) }));
    expect(el.querySelector("img")).toBeNull();
    one(".isn-pin-go").click();
    expect(model.last("go").params).toEqual({ id: 7 });
    let told = 0;
    el.addEventListener("isn-compare", () => (told += 1));
    one(".isn-pin-compare").click();
    expect(model.last("compare").params).toEqual({ id: 7 });
    expect((one(".isn-pin-compare") as HTMLButtonElement).disabled).toBe(true);
    await model.answer(model.last("compare"), null);
    await new Promise((resolve) => setTimeout(resolve));
    expect(told).toBe(2);
    expect((one(".isn-pin-compare") as HTMLButtonElement).disabled).toBe(false);
    one(".isn-pin .isn-icon-button").click();
    expect(model.last("unpin").params).toEqual({ id: 7 });
    expect(one(".isn-pin-go .isn-hidden").textContent).toBe("low ess: ");
  });
  it("says why what was asked cannot be", async () => {
    const { model, one, el } = mount(pinsModule, shelf({ shown: pin(null) }));
    one(".isn-button").click();
    await model.refuse(model.last("pin"), "8 inversions are pinned already", "remove one first");
    expect(one(".isn-error").textContent).toContain("remove one first");
    one(".isn-error .isn-icon-button").click();
    expect(el.querySelector(".isn-error")).toBeNull();
  });
  it("takes no more than there is room for", () => {
    const { one, el } = mount(pinsModule, shelf({ pins: [1, 2].map((id) => pin(id)), shown: pin(null), most: 2 }));
    expect((one(".isn-button") as HTMLButtonElement).disabled).toBe(true);
    expect(el.textContent).toContain("Remove one to pin this.");
  });
  it("shortens sites", () => {
    expect(shortSite("blocks.3.hook_resid_post")).toBe("layer 3 resid_post");
    expect(shortSite("blocks.11.attn.hook_z.4")).toBe("layer 11 attn.z.4");
  });
});
