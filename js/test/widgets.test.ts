import { afterEach, describe, expect, it, vi } from "vitest";
import panelModule from "../src/consistency_panel.ts";
import galleryModule from "../src/sample_gallery.ts";
import scopeModule, { bandwidthAt, stepOf } from "../src/scope.ts";
import pickerModule from "../src/token_picker.ts";
import { PageModel } from "../src/viewer.ts";
import { key, mount, row, summary } from "./fake.ts";

afterEach(() => vi.useRealTimers());

const IDLE = { running: false, done: 0, total: 0, message: "", remaining_s: null, stopping: false };

describe("TokenPicker", () => {
  const state = () => ({ text: "When Mary", tokens: ["<bos>", "When", " Mary"], position: -1, values: null, examples: [], editable: true, error: null });

  it("has one tab stop, moves with the arrows and picks with a click", () => {
    const { model, all } = mount(pickerModule, state());
    const tokens = all(".isn-token");
    expect(tokens.map((token) => token.getAttribute("tabindex"))).toEqual(["-1", "-1", "0"]);
    expect(tokens[2]!.getAttribute("aria-pressed")).toBe("true");
    tokens[2]!.focus();
    key(tokens[2]!, "ArrowLeft");
    expect(document.activeElement).toBe(tokens[1]);
    tokens[1]!.click();
    expect(model.state["position"]).toBe(1);
    expect(model.last("pick").params).toEqual({ position: 1 });
    expect(all(".isn-token").map((token) => token.getAttribute("aria-pressed"))).toEqual(["false", "true", "false"]);
  });
  it("shades by values with a printed scale", () => {
    const { model, all, one } = mount(pickerModule, state());
    model.update({ values: [0, 1, 2], values_label: "norm", values_unit: "", diverging: false });
    expect(all(".isn-token.isn-shaded").length).toBe(2);
    expect(one(".isn-scale").textContent).toContain("2.0");
    expect(all(".isn-token")[1]!.getAttribute("aria-label")).toContain("1.00");
  });
  it("sends an edited prompt after a pause, and an example at once", () => {
    vi.useFakeTimers();
    const { model, one } = mount(pickerModule, { ...state(), examples: [{ label: "sum", text: "1 + 2 =" }] });
    const area = one("textarea") as HTMLTextAreaElement;
    area.value = "Then";
    area.dispatchEvent(new Event("input"));
    expect(model.state["text"]).toBe("When Mary");
    vi.advanceTimersByTime(400);
    expect(model.state["text"]).toBe("Then");
    const select = one("select") as HTMLSelectElement;
    select.value = "0";
    select.dispatchEvent(new Event("change"));
    expect(model.state["text"]).toBe("1 + 2 =");
  });
  it("shows an error in place, as text", () => {
    const { model, one } = mount(pickerModule, state());
    model.update({ error: { message: "the prompt is <b>empty</b>", hint: "type a word" } });
    expect(one(".isn-error").textContent).toContain("<b>empty</b>");
    expect(one(".isn-error b")).toBeNull();
  });
  it("says that the tokens are those of the last prompt while what is typed cannot be read", () => {
    const { model, el } = mount(pickerModule, state());
    expect(el.textContent).toContain("Click a token");
    model.update({ error: { message: "no such word" } });
    expect(el.textContent).toContain("the last prompt that could be read");
    model.update({ error: null });
    expect(el.textContent).toContain("Click a token");
  });
  it("keeps single keys from the notebook by marking whatever has the focus", () => {
    const { all } = mount(pickerModule, state());
    all(".isn-token")[1]!.dispatchEvent(new Event("focusin", { bubbles: true }));
    expect(all(".isn-token")[1]!.getAttribute("data-lm-suppress-shortcuts")).toBe("true");
  });
  it("hides its static picture while it is on the page, and only then", () => {
    const { el, close } = mount(pickerModule, { ...state(), picture_class: "isn-picture-abc1" });
    expect(el.querySelector("style")!.textContent).toContain(".isn-picture-abc1 { display: none; }");
    close();
    expect(el.querySelector("style")).toBeNull();
    expect(mount(pickerModule, { ...state(), picture_class: "x{} body" }).el.querySelector("style")).toBeNull();
  });
  it("leaves no listeners behind", () => {
    const { model, el, close } = mount(pickerModule, { ...state(), picture_class: "isn-picture-a" });
    expect(model.listening).toBeGreaterThan(0);
    close();
    expect(model.listening).toBe(0);
    expect(el.childElementCount).toBe(0);
  });
  it("shows a fault of its own instead of dying silently", () => {
    const { model, one } = mount(pickerModule, state());
    model.update({ tokens: 5 });
    expect(one(".isn-faults .isn-error").textContent).toContain("failed");
    expect(model.sent.at(-1).kind).toBe("fault");
  });
});

describe("a frozen picker", () => {
  it("shows the picked token and offers no button", () => {
    const state = { text: "a b", tokens: ["a", "b"], position: 1, values: null, examples: [], editable: false, frozen: true, error: null };
    const { all } = mount(pickerModule, state);
    expect(all("button").length).toBe(0);
    expect(all(".isn-token").map((token) => token.getAttribute("aria-current"))).toEqual([null, "true"]);
  });
});

describe("SampleGallery", () => {
  const page = (rows: any[], extra = {}) => ({ revision: 1, start: 0, matching: rows.length, rows, ...extra });
  const state = () => ({ summary: summary(), first_page: page([row(0), row(1), row(2), row(3)]), revision: 1, unit: "bits", error: null });

  it("says that there is nothing yet", () => {
    const { one } = mount(galleryModule, { summary: {}, first_page: null, revision: 0, unit: "bits" });
    expect(one(".isn-empty").hidden).toBe(false);
    expect(one(".isn-empty").nextElementSibling!.hasAttribute("hidden")).toBe(true);
  });
  it("lists inputs nearest first with the edge of the ball between the last in and the first out", () => {
    const { one, all } = mount(galleryModule, state());
    const kinds = [...one(".isn-samples").children].map((line) => (line.classList.contains("isn-edge") ? "edge" : line.classList.contains("isn-beyond") ? "out" : "in"));
    expect(kinds).toEqual(["in", "in", "in", "edge", "out", "out"]); // the first is the head
    expect(all(".isn-badge")[0]!.textContent).toBe("the picked input");
    expect(one(".isn-verdict").textContent).toContain("Reliable.");
    expect(all(".isn-remark").map((remark) => remark.textContent)).toEqual(["One direction holds <b>91%</b> of this site's variance."]);
    expect(one(".isn-histogram")).not.toBeNull();
  });
  it("says the site's own bound on bits where a generator knows it", () => {
    const { model, one } = mount(galleryModule, state());
    expect(one(".isn-figure").title).toContain("On average an activation of this site can say at most 12.3 bits at \u03b5 = 0.1");
    model.update({ summary: summary({ bits_bound: null }) });
    expect(one(".isn-figure").title).not.toContain("On average");
  });
  it("shades tokens in the chosen unit", () => {
    const { model, one, all } = mount(galleryModule, state());
    expect(all(".isn-sample-token")[2]!.title).toContain("+2.89 bits");
    (one(".isn-toolbar button") as HTMLButtonElement).click();
    expect(model.state["unit"]).toBe("nats");
    expect(all(".isn-sample-token")[2]!.title).toContain("+2.00 nats");
    expect(all(".isn-sample-token.isn-negative").length).toBe(4);
  });
  it("asks for more rows, and for filtered ones, and drops answers about older samples", async () => {
    vi.useFakeTimers();
    const rows = Array.from({ length: 50 }, (_, index) => row(index));
    const { model, one, all } = mount(galleryModule, { ...state(), first_page: page(rows, { matching: 60 }) });
    expect(one(".isn-more").textContent).toBe("Show 10 more");
    one(".isn-more").click();
    const request = model.last("page");
    expect(request.params).toMatchObject({ start: 50, size: 50, sort: "distance" });
    await model.answer(request, { revision: 0, start: 50, matching: 60, rows: [row(50)] });
    expect(all(".isn-sample").length).toBe(51);
    one(".isn-more").click();
    await model.answer(model.last("page"), { revision: 1, start: 50, matching: 60, rows: Array.from({ length: 10 }, (_, i) => row(50 + i)) });
    expect(all(".isn-sample").length).toBe(61);
    expect(one(".isn-more").hidden).toBe(true);
    const filter = one(".isn-filter") as HTMLInputElement;
    filter.value = "name7";
    filter.dispatchEvent(new Event("input"));
    vi.advanceTimersByTime(200);
    expect(model.last("page").params).toMatchObject({ start: 0, filter: "name7" });
  });
});

describe("ConsistencyPanel", () => {
  const estimate = { fcr: 0.5, low: 0.4, high: 0.6, chance: 0.1, n: 20 };
  const state = () => ({ features: [{ name: "subject", description: "" }], rows: [], chart: null, ready: true, status: IDLE, measure_label: "slow", error: null });

  it("waits for an inversion", () => {
    const { one } = mount(panelModule, { ...state(), ready: false });
    expect(one(".isn-empty").hidden).toBe(false);
    expect(one(".isn-panel-body").hidden).toBe(true);
  });
  it("asks for a ready-made hypothesis and for a written one", () => {
    const { model, one } = mount(panelModule, state());
    const form = one("form") as HTMLFormElement;
    form.dispatchEvent(new Event("submit", { cancelable: true }));
    expect(model.last("add").params).toMatchObject({ kind: "ready", name: "subject" });
    const select = one("form select") as HTMLSelectElement;
    select.value = "=regex";
    select.dispatchEvent(new Event("change"));
    (one("form input[type=text]") as HTMLInputElement).value = "(\\w+)";
    form.dispatchEvent(new Event("submit", { cancelable: true }));
    expect(model.last("add").params).toMatchObject({ kind: "regex", value: "(\\w+)" });
  });
  it("shows what was wrong with a hypothesis, with the hint, and goes on", async () => {
    const { model, one } = mount(panelModule, state());
    one("form").dispatchEvent(new Event("submit", { cancelable: true }));
    await model.refuse(model.last("add"), "no regular expression", "escape brackets");
    expect(one(".isn-error").textContent).toContain("escape brackets");
    expect((one("form button") as HTMLButtonElement).disabled).toBe(false);
  });
  it("keeps what was typed while the last hypothesis was being tested", async () => {
    const { model, one } = mount(panelModule, { ...state(), features: [] });
    const text = one("form input[type=text]") as HTMLInputElement;
    for (const [typed, kept] of [["Mary", ""], ["Anna", "Paul"]] as const) {
      text.value = typed;
      one("form").dispatchEvent(new Event("submit", { cancelable: true }));
      text.value = kept || typed;
      await model.answer(model.last("add"), null);
      expect(text.value).toBe(kept);
    }
  });
  it("says where chance comes from when that is not P(X)", () => {
    const { model, el } = mount(panelModule, { ...state(), rows: [{ name: "a", label: "b", here: estimate, across: null, note: null }], chance_note: "" });
    expect(el.textContent).toContain("draws from P(X)");
    model.update({ chance_note: "Chance is the generator's own." });
    expect(el.textContent).toContain("Chance is the generator's own.");
    expect(el.textContent).not.toContain("draws from P(X)");
  });
  it("greys the rates of an inversion that failed, and says why", () => {
    const rows = [{ name: "a", label: "b", here: estimate, across: estimate, note: null }];
    const { model, all, one } = mount(panelModule, { ...state(), rows, doubt: "The rates are grey: the generator missed." });
    expect(one(".isn-remark").textContent).toBe("The rates are grey: the generator missed.");
    expect(all("td.isn-doubtful").length).toBe(1);
    model.update({ doubt: "" });
    expect(one(".isn-remark").hidden).toBe(true);
    expect(all("td.isn-doubtful").length).toBe(0);
  });
  it("tabulates rate, interval and chance, and removes a row", () => {
    const { model, one } = mount(panelModule, state());
    model.update({ rows: [{ name: "subject", label: "Mary", here: estimate, across: null, note: null }] });
    expect(one("tbody tr").textContent).toContain("0.50 (0.40\u20130.60)");
    one("tbody button").click();
    expect(model.last("remove").params).toEqual({ name: "subject" });
  });
  it("shows progress with the time left, and a Stop button", () => {
    const { model, one } = mount(panelModule, state());
    model.update({ status: { ...IDLE, running: true, done: 3, total: 9, message: "measuring", remaining_s: 12 } });
    expect(one(".isn-progress").textContent).toContain("measuring 3 of 9, about 12 s left");
    one(".isn-stop").click();
    expect(model.last("stop")).toBeDefined();
  });
});

describe("InverseScopeWidget", () => {
  const map = {
    n_layers: 2,
    n_heads: 3,
    kinds: [
      { kind: "attn_out", label: "attn out", template: "blocks.{layer}.hook_attn_out" },
      { kind: "resid_post", label: "resid post", template: "blocks.{layer}.hook_resid_post" },
    ],
    head_template: "blocks.{layer}.attn.hook_z.{head}",
    available: ["blocks.0.hook_resid_post"],
  };
  const state = () => ({
    prompt: "", position: -1, site: "blocks.0.hook_resid_post", bandwidth: 0.1, busy: false, frozen: false, site_map: map, status: IDLE,
    offer: null, code: "import x", model_name: "tiny", picker: "anywidget:p", gallery: "anywidget:g", panel: "anywidget:c", error: null,
  });
  const host = { getWidget: async (ref: string) => ({ render: async ({ el }: { el: HTMLElement }) => void el.append(ref) }) };

  it("draws its parts and says so when one fails", async () => {
    const broken = { getWidget: async (ref: string) => (ref === "anywidget:g" ? Promise.reject(new Error("timed out")) : host.getWidget(ref)) };
    const { el } = mount(scopeModule, state(), broken as typeof host);
    expect(el.textContent).toContain("Loading");
    await new Promise((resolve) => setTimeout(resolve));
    expect(el.textContent).toContain("anywidget:p");
    expect(el.textContent).toContain("the inputs could not be shown: timed out");
  });
  it("marks sites without a generator and chooses with mouse or keyboard", () => {
    const { model, all } = mount(scopeModule, state(), host);
    expect(all("button.isn-map-cell.isn-map-unknown").length).toBe(3);
    const pressed = () => all("button.isn-map-cell").findIndex((cell) => cell.getAttribute("aria-pressed") === "true");
    expect(pressed()).toBe(1);
    all("button.isn-map-cell")[3]!.click();
    expect(model.state["site"]).toBe("blocks.1.hook_resid_post");
    const cell = all("button.isn-map-cell")[3]!;
    cell.focus();
    key(cell, "ArrowLeft");
    expect(document.activeElement?.getAttribute("title")).toContain("blocks.1.hook_attn_out");
  });
  it("unfolds the heads of a layer, by hand or because one of them is chosen", () => {
    const { model, all, one } = mount(scopeModule, state(), host);
    one('.isn-map-toggle[data-layer="1"]').click();
    expect(all(".isn-map-heads button").length).toBe(3);
    all(".isn-map-heads button")[2]!.click();
    expect(model.state["site"]).toBe("blocks.1.attn.hook_z.2");
    model.update({ site: "blocks.0.attn.hook_z.1" });
    expect(all(".isn-map-heads").length).toBe(2);
  });
  it("has every round bandwidth on its slider", () => {
    const values = Array.from({ length: 201 }, (_, step) => bandwidthAt(step));
    for (const round of [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1]) {
      expect(values).toContain(round);
      expect(bandwidthAt(stepOf(round))).toBe(round);
    }
    expect(values).toEqual([...values].sort((a, b) => a - b));
  });
  it("keeps the slider inside the range of the site's generator", () => {
    const range = [0.013, 4.5] as const;
    expect([bandwidthAt(0, range), bandwidthAt(200, range)]).toEqual([0.013, 4.5]);
    for (const bandwidth of [0.013, 0.1, 1, 4.5]) expect(bandwidthAt(stepOf(bandwidth, range), range)).toBeCloseTo(bandwidth, 1);
    const { model, one } = mount(scopeModule, { ...state(), bandwidth: 2, bandwidth_range: [0.5, 4] }, host);
    expect((one(".isn-slider") as HTMLInputElement).value).toBe("133");
    expect(one(".isn-slider-ends").textContent).toBe("0.5 finecoarse 4");
    model.update({ bandwidth: 0.3, bandwidth_range: [0.3, 0.3] });
    expect(one("output").textContent).toBe("\u03b5 = 0.3");
    expect((one(".isn-slider") as HTMLInputElement).disabled).toBe(true);
  });
  it("says the site's own bound on bits, and only at the bandwidth that it is of", () => {
    const { model, el, one } = mount(scopeModule, { ...state(), bound: { bandwidth: 0.1, bits: 23.4 } }, host);
    expect(el.textContent).toContain("On average an activation of this site can say at most 23 bits");
    (one(".isn-slider") as HTMLInputElement).value = "0";
    one(".isn-slider").dispatchEvent(new Event("input"));
    expect(el.textContent).not.toContain("On average");
    model.update({ bound: {} });
    expect(el.textContent).not.toContain("On average");
  });
  it("sends the bandwidth after a pause and prints it at once", () => {
    vi.useFakeTimers();
    const { model, one } = mount(scopeModule, state(), host);
    const slider = one(".isn-slider") as HTMLInputElement;
    slider.value = "0";
    slider.dispatchEvent(new Event("input"));
    expect(one("output").textContent).toBe("\u03b5 = 0.02");
    expect(model.state["bandwidth"]).toBe(0.1);
    vi.advanceTimersByTime(200);
    expect(model.state["bandwidth"]).toBe(0.02);
  });
  it("offers to search or train where there is no generator", () => {
    const { model, all } = mount(scopeModule, state(), host);
    model.update({ offer: { site: "s", message: "No generator.", train: "Train (about 2 min)", search: "Search now" } });
    all(".isn-offer button")[0]!.click();
    all(".isn-offer button")[1]!.click();
    expect(model.sent.map((message) => message.method)).toEqual(["search", "train"]);
  });
  it("asks how many samples to draw", () => {
    const { model, one } = mount(scopeModule, { ...state(), n: 100 }, host);
    const samples = one(".isn-go select") as HTMLSelectElement;
    expect([...samples.options].map((option) => option.value)).toEqual(["64", "100", "256", "1024", "4096"]);
    expect(samples.value).toBe("100");
    samples.value = "1024";
    samples.dispatchEvent(new Event("change"));
    expect(model.state["n"]).toBe(1024);
  });
  it("says whose inputs are shown when they are not those of the pick", () => {
    const { model, one } = mount(scopeModule, state(), host);
    expect(one(".isn-stale").hidden).toBe(true);
    model.update({ stale: "blocks.0.hook_resid_post at 'to'", busy: true });
    expect(one(".isn-stale").hidden).toBe(true);
    expect(one(".isn-scope").hasAttribute("data-isn-stale")).toBe(true);
    model.update({ busy: false });
    expect(one(".isn-stale").textContent).toContain("blocks.0.hook_resid_post at 'to'");
  });
  it("offers nothing to press in a saved page but what works there", () => {
    const { all, one } = mount(scopeModule, { ...state(), frozen: true }, host);
    expect(all("button.isn-map-cell").length).toBe(0);
    expect(one('.isn-map-cell[aria-current="true"]').title).toBe("blocks.0.hook_resid_post");
    expect((one(".isn-slider") as HTMLInputElement).disabled).toBe(true);
    expect(one(".isn-go").hidden).toBe(true);
    one(".isn-map-toggle").click();
    expect(all(".isn-map-heads .isn-map-cell").length).toBe(3);
  });
  it("keeps notebook shortcuts away", () => {
    const { one } = mount(scopeModule, state(), host);
    expect(one(".isn-scope").getAttribute("data-lm-suppress-shortcuts")).toBe("true");
  });
});

describe("a saved page", () => {
  it("pages without a kernel and refuses what needs one", async () => {
    const model = new PageModel({ revision: 4, site: "a", frozen_traits: ["site"] }, [row(0), row(1)]);
    const got: any[] = [];
    model.on("msg:custom", (message) => got.push(message));
    model.send({ kind: "request", id: "1", method: "page", params: { start: 0, size: 50, filter: "name1", sort: "distance" } });
    model.send({ kind: "request", id: "2", method: "invert", params: {} });
    model.set("site", "b");
    await Promise.resolve();
    expect(got[0].value).toMatchObject({ matching: 1, revision: 4 });
    expect(got[1]).toMatchObject({ kind: "error", type: "NoKernel" });
    expect(model.get("site")).toBe("a");
  });
});
