// The panel's hypotheses: Python, proposals, rates across bandwidths, and its code.
import { describe, expect, it } from "vitest";
import panelModule from "../src/consistency_panel.ts";
import { choose, FakeModel, key, mount, watchDownloads } from "./fake.ts";

const IDLE = { running: false, done: 0, total: 0, message: "", remaining_s: null, stopping: false };
const estimate = { fcr: 0.5, low: 0.4, high: 0.6, chance: 0.1, plain: 0.45, star: 0.44, n: 20 };
const row = { name: "a", label: "b", here: estimate, across: null, note: null, remark: null };
const state = () => ({ features: [], rows: [], chart: null, ready: true, status: IDLE, measure_label: "slow", bandwidths_label: "six", proposals: null, curves: [], drawn: "rates", code: "", where: "blocks.1, \u03b5 = 0.3, inputs like 'a'", error: null });
const labelled = (all: (selector: string) => HTMLElement[], label: string) => all("button").find((button) => button.textContent === label) as HTMLButtonElement;

describe("a hypothesis about one token", () => {
  it("says which token of the picked input that is", () => {
    const { model, one } = mount(panelModule, { ...state(), tokens: ["<bos>", "Mary", " saw"] });
    const said = () => one("form .isn-note").textContent;
    expect(one("form .isn-note").hidden).toBe(true);
    choose(one("form select"), "=token_at");
    expect(said()).toBe("here: \u00b7saw");
    const position = one(".isn-position") as HTMLInputElement;
    position.value = "7";
    position.dispatchEvent(new Event("input", { bubbles: true }));
    expect(said()).toBe("there is none: -3 to 2");
    model.update({ tokens: [] });
    expect(said()).toBe("");
  });
});

describe("hypotheses that are taken away together", () => {
  const gone = { ...row, name: "gone", label: null, here: null };
  const removed = (model: FakeModel) => model.sent.filter(({ method }) => method === "remove").map(({ params }) => params.name);
  it("are all, or those that are undefined for the picked input", () => {
    const { model, all, one } = mount(panelModule, { ...state(), rows: [row, gone, { ...gone, name: "lost" }] });
    labelled(all, "Remove the 2 that are undefined here").click();
    expect(removed(model)).toEqual(["gone", "lost"]);
    expect(document.activeElement).toBe(one("form select"));
    labelled(all, "Remove all").click();
    expect(removed(model).slice(2)).toEqual(["a", "gone", "lost"]);
  });
  it("are not offered where there is one, none is undefined, or nothing can be done any more", () => {
    const { model, all } = mount(panelModule, { ...state(), rows: [row] });
    const links = () => all("button").filter((button) => button.textContent!.startsWith("Remove") && !button.hidden).map((button) => button.textContent);
    expect(links()).toEqual([]);
    model.update({ rows: [row, { ...row, name: "b" }] });
    expect(links()).toEqual(["Remove all"]);
    model.update({ rows: [row, gone] });
    expect(links()).toEqual(["Remove the one that is undefined here", "Remove all"]);
    model.update({ rows: [gone, { ...gone, name: "lost" }] });
    expect(links()).toEqual(["Remove all"]);
    model.update({ frozen: true, rows: [row, gone] });
    expect(links()).toEqual([]);
  });
});

describe("a hypothesis in Python", () => {
  function open() {
    const view = mount(panelModule, state());
    choose(view.one("form select"), "=python");
    return { ...view, editor: view.one("textarea") as HTMLTextAreaElement };
  }

  it("says that what was stopped left nothing", () => {
    const { model, el } = mount(panelModule, { ...state(), stopped: "Stopped while measuring: nothing of it is kept." });
    expect(el.textContent).toContain("Stopped while measuring");
    model.update({ stopped: "" });
    expect(el.textContent).not.toContain("Stopped while measuring");
  });
  it("is there when chosen, and says what is at hand", () => {
    const { editor, one } = open();
    expect(editor.closest("[hidden]")).toBeNull();
    expect(document.getElementById(editor.getAttribute("aria-describedby")!)!.textContent).toContain("x.tokens");
    choose(one("form select"), "=contains");
    expect(editor.closest("[hidden]")).not.toBeNull();
  });
  it("is sent by the button and by Ctrl+Enter, and by nothing else", () => {
    const { model, editor, one } = open();
    editor.value = "x.split()[0]";
    for (const name of ["Enter", "Tab", "b"]) key(editor, name);
    expect(model.last("add")).toBeUndefined();
    const tab = new KeyboardEvent("keydown", { key: "Tab", bubbles: true, cancelable: true });
    editor.dispatchEvent(tab);
    expect(tab.defaultPrevented).toBe(false);
    editor.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", ctrlKey: true, bubbles: true, cancelable: true }));
    expect(model.last("add").params).toEqual({ kind: "python", value: "x.split()[0]", name: "" });
    one("form").dispatchEvent(new Event("submit", { cancelable: true }));
    expect(model.sent.filter((message) => message.method === "add").length).toBe(1);
  });
  it("takes a name, can be stopped by its own id, and stays to be refined once it is in", async () => {
    const { model, editor, one, all } = open();
    editor.value = "x[0]";
    (one("input[aria-label^=Name]") as HTMLInputElement).value = "first";
    const stop = labelled(all, "Stop");
    expect(stop.hidden).toBe(true);
    one("form").dispatchEvent(new Event("submit", { cancelable: true }));
    const asked = model.last("add");
    expect([asked.params.name, stop.hidden]).toEqual(["first", false]);
    stop.click();
    expect(model.sent.at(-1)).toEqual({ kind: "cancel", id: asked.id });
    await model.answer(asked, null);
    expect([editor.value, stop.hidden]).toEqual(["x[0]", true]);
  });
  it("keeps what was written when it is wrong, and shows line and hint", async () => {
    const { model, editor, one } = open();
    editor.value = "x.split(";
    one("form").dispatchEvent(new Event("submit", { cancelable: true }));
    await model.refuse(model.last("add"), "this is not valid Python, line 1: '(' was never closed", "write an expression");
    expect(editor.value).toBe("x.split(");
    expect(one(".isn-error").textContent).toContain("line 1");
    expect(one(".isn-error").textContent).toContain("write an expression");
  });
  it("says where it raised", () => {
    const { one } = mount(panelModule, { ...state(), rows: [{ ...row, remark: "raises on 3 of 64 samples" }] });
    expect(one(".isn-row-remark").textContent).toBe("raises on 3 of 64 samples");
  });
  it("sends nothing when a view is drawn", () => {
    const { model } = mount(panelModule, { ...state(), rows: [row], code: "import x", proposals: { note: "n", items: [] } });
    expect((model as FakeModel).sent.filter((message) => message.method !== "ping")).toEqual([]);
  });
});

describe("proposals", () => {
  const items = [
    { name: "contains 'a'", sentence: "Has \u201c<b>a</b>\u201d: 97\u202f% of the inputs.", folded: ["token at 1", "x", "y", "z"] },
    { name: "b", sentence: "B.", folded: [] },
  ];

  it("are asked for, listed as sentences and tested one by one", async () => {
    const { model, one, all } = mount(panelModule, state());
    expect(one(".isn-proposals").hidden).toBe(true);
    labelled(all, "Propose").click();
    expect(model.last("propose")).toBeDefined();
    model.update({ proposals: { note: "Found on one half.", items } });
    expect(one(".isn-proposals").hidden).toBe(false);
    expect(all(".isn-proposal-words").map((words) => words.textContent)).toEqual(["Has \u201c<b>a</b>\u201d: 97\u202f% of the inputs.and with it: token at 1, x, y and 1 more", "B."]);
    expect(one(".isn-proposals b")).toBeNull();
    expect(one(".isn-proposals .isn-note").textContent).toBe("Found on one half.");
    (all(".isn-proposal button")[0] as HTMLButtonElement).click();
    expect(model.last("accept").params).toEqual({ name: "contains 'a'" });
    model.update({ rows: [{ ...row, name: "contains 'a'" }] });
    expect((all(".isn-proposal button") as HTMLButtonElement[]).map((button) => [button.textContent, button.disabled])).toEqual([["Added", true], ["Test it", false]]);
  });
  it("say why where there is none, go with their inversion, and show an error in place", async () => {
    const { model, one, all } = mount(panelModule, { ...state(), proposals: { note: "Nothing to propose.", items: [] } });
    expect([one(".isn-proposals").hidden, one(".isn-proposal-list").hidden]).toEqual([false, true]);
    model.update({ proposals: { note: "", items } });
    (all(".isn-proposal button")[1] as HTMLButtonElement).click();
    await model.refuse(model.last("accept"), "not among the proposals", "it belonged to another inversion");
    expect(one(".isn-proposals .isn-error").textContent).toContain("belonged to another");
    model.update({ proposals: null });
    expect(one(".isn-proposals").hidden).toBe(true);
  });
  it("say which a language model proposed, and list the lines of its answer that were refused, as text", () => {
    const worded = [{ ...items[0], source: "samples" }, { ...items[1], source: "language model" }];
    const { model, one, all } = mount(panelModule, { ...state(), proposals: { note: "n", items: worded, refused: ["no JSON object: {<b>x</b>", "it is empty: {}"] } });
    expect(all(".isn-proposal-words").map((words) => words.textContent!.includes("proposed by the language model"))).toEqual([false, true]);
    expect([one(".isn-proposals details").hidden, one(".isn-proposals summary").textContent]).toEqual([false, "2 lines of the language model\u2019s answer not used"]);
    expect(all(".isn-refused li").map((line) => line.textContent)).toEqual(["no JSON object: {<b>x</b>", "it is empty: {}"]);
    expect(one(".isn-refused b")).toBeNull();
    model.update({ proposals: { note: "n", items: worded, refused: ["it is empty: {}"] } });
    expect(one(".isn-proposals summary").textContent).toContain("1 line of");
    model.update({ proposals: { note: "n", items } }); // of a page that was saved before
    expect(one(".isn-proposals details").hidden).toBe(true);
  });
  it("are read, not tested, in a saved page", () => {
    const { all, one } = mount(panelModule, { ...state(), frozen: true, proposals: { note: "n", items } });
    expect(all(".isn-proposal button").every((button) => button.hidden)).toBe(true);
    expect(one(".isn-hypotheses").hidden).toBe(true);
  });
});

describe("rates across bandwidths", () => {
  const curves = [
    { ...estimate, name: "a", bandwidth: 0.02, verdict: "LOW_ESS", doubtful: true },
    { ...estimate, name: "a", bandwidth: 0.3, verdict: "RELIABLE", doubtful: false },
    { ...estimate, fcr: null, name: "a", bandwidth: 0.05, verdict: "RELIABLE", doubtful: false },
  ];

  it("are asked for by a button that waits while something runs", () => {
    const { model, all } = mount(panelModule, { ...state(), rows: [row] });
    const button = all(".isn-measure button")[1] as HTMLButtonElement;
    expect(button.textContent).toBe("Measure across bandwidths");
    button.click();
    expect(model.last("bandwidths")).toBeDefined();
    model.update({ status: { ...IDLE, running: true } });
    expect([button.disabled, labelled(all, "Propose").disabled]).toEqual([true, true]);
  });
  it("are not offered where there is no way to have them", () => {
    const { all } = mount(panelModule, { ...state(), rows: [row], bandwidths_label: "" });
    expect(all(".isn-measure")[1]!.hidden).toBe(true);
  });
  it("share the chart's place with the rates at this bandwidth", () => {
    const { model, one, all } = mount(panelModule, { ...state(), rows: [row] });
    expect(one(".isn-segments").hidden).toBe(true);
    model.update({ curves, drawn: "bandwidths" });
    expect(one(".isn-segments").hidden).toBe(false);
    expect(all(".isn-segments button").map((button) => button.getAttribute("aria-pressed"))).toEqual(["false", "true"]);
    all(".isn-segments button")[0]!.click();
    expect(model.saved).toEqual([{ drawn: "rates" }]);
  });
  it("are a table too, that marks what is doubtful", () => {
    const { all } = mount(panelModule, { ...state(), rows: [row], curves });
    const lines = all(".isn-curves tbody tr").map((line) => [...line.children].map((cell) => cell.textContent));
    expect(lines).toEqual([
      ["a", "0.020", "0.50 (0.40\u20130.60)", "0.10", "20", "too few effective samples"],
      ["a", "0.300", "0.50 (0.40\u20130.60)", "0.10", "20", ""],
      ["a", "0.050", "\u2013", "0.10", "20", "only copies of the input"],
    ]);
    expect(all(".isn-curves td.isn-doubtful").length).toBe(1);
  });
  it("are rows of the file", () => {
    const files = watchDownloads();
    const { all } = mount(panelModule, { ...state(), rows: [row], curves: curves.slice(0, 1), place: { site: "blocks.1", bandwidth: 0.1, input: "a" } });
    all(".isn-table-part .isn-downloads > .isn-link")[0]!.click();
    expect(files[0]![1].split("\r\n").at(-2)).toBe("a,\"this input, across bandwidths\",blocks.1,0.02,a,,0.5,0.4,0.6,0.1,0.44,0.45,20,effective samples,,LOW_ESS,");
  });
});

describe("rates that are not to be relied on", () => {
  const estimate = { fcr: 0.5, low: 0.4, high: 0.6, chance: 0.1, plain: 0.45, star: 0.44, n: 20 };
  const notes = "Not to be relied on: of 32 inversions 25 missed by the generator. Only 8 groups of picks: the interval is rough.";
  const doubtful = (name: string) => ({ name, label: "5", here: estimate, across: { ...estimate, notes }, note: null });

  it("are grey across inputs, and why is said once", () => {
    const { model, all, one } = mount(panelModule, { ...state(), rows: [doubtful("a"), doubtful("b")] });
    const cells = all(".isn-table-part tbody .isn-doubtful").map((cell) => cell.textContent!);
    expect(cells.length).toBe(2);
    expect(cells.every((words) => words.includes("Only 8 groups") && !words.includes("25 missed"))).toBe(true);
    expect(one(".isn-table-part .isn-remark").textContent!.match(/25 missed/g)).toHaveLength(1);
    model.update({ rows: [{ ...doubtful("a"), across: estimate }] });
    expect(one(".isn-table-part .isn-remark").hidden).toBe(true);
    expect(all(".isn-table-part tbody .isn-doubtful")).toEqual([]);
  });
});

describe("a pattern", () => {
  it("is explained while it is what is written", () => {
    const { one } = mount(panelModule, state());
    const kind = one('[aria-label="Hypothesis"]') as HTMLSelectElement;
    const words = () => [...document.querySelectorAll<HTMLElement>(".isn-add .isn-note")].filter((note) => !note.hidden && note.textContent!.includes("brackets"));
    choose(kind, "=contains");
    expect(words()).toEqual([]);
    choose(kind, "=regex");
    expect(words()).toHaveLength(1);
  });
});

describe("the panel's code", () => {
  it("is there where there is some", () => {
    const { model, one } = mount(panelModule, state());
    expect(one(".isn-code").hidden).toBe(true);
    model.update({ code: "import inversescope_nb as isn" });
    expect(one(".isn-code").hidden).toBe(false);
    expect(one(".isn-code code").textContent).toBe("import inversescope_nb as isn");
    expect(one(".isn-code summary").textContent).toBe("Copy these rates as Python");
  });
});
