import { afterEach, describe, expect, it, vi } from "vitest";
import panelModule from "../src/consistency_panel.ts";
import galleryModule from "../src/sample_gallery.ts";
import scopeModule, { bandwidthAt, stepOf } from "../src/scope.ts";
import pickerModule, { onScreen } from "../src/token_picker.ts";
import { PageModel } from "../src/viewer.ts";
import { EVERYTHING } from "../src/lib/rows.ts";
import { Told } from "../src/lib/told.ts";
import { FakeModel, choose, key, watchDownloads, mount, row, summary } from "./fake.ts";

afterEach(() => vi.useRealTimers());

const IDLE = { running: false, done: 0, total: 0, message: "", remaining_s: null, stopping: false };

describe("TokenPicker", () => {
  const state = () => ({ text: "When Mary", tokens: ["<bos>", "When", " Mary"], position: -1, values: null, examples: [], editable: true, error: null });

  it("does not go back to what was picked before the last when the kernel repeats it", () => {
    const { model, all } = mount(pickerModule, { ...state(), position: 0 });
    const pressed = () => all(".isn-token").findIndex((token) => token.getAttribute("aria-pressed") === "true");
    const shown: number[] = [];
    all(".isn-token")[1]!.click();
    all(".isn-token")[2]!.click();
    expect(pressed()).toBe(2);
    for (const repeated of [1, 2]) {
      model.update({ position: repeated });
      shown.push(pressed());
    }
    expect(shown).toEqual([2, 2]);
    model.update({ position: 1 }); // nothing is waited for any more: that is Python's own
    expect(pressed()).toBe(1);
    all(".isn-token")[2]!.click();
    all(".isn-token")[1]!.click();
    model.update({ position: 0 }); // neither was told
    expect(pressed()).toBe(0);
  });
  it("takes what another view of the page says for new, not for a repeat of what it once said itself", () => {
    const { model, el, all } = mount(pickerModule, state());
    const other = document.createElement("div");
    document.body.append(other);
    pickerModule.render({ model, el: other } as never);
    for (const index of [1, 2]) all(".isn-token")[index]!.click();
    (other.querySelectorAll(".isn-token")[1] as HTMLElement).click();
    expect(model.state["position"]).toBe(1);
    expect([el, other].map((view) => [...view.querySelectorAll(".isn-token")].findIndex((token) => token.getAttribute("aria-pressed") === "true"))).toEqual([1, 1]);
  });
  it("waits for a repeat for two seconds, as some kernels never repeat", () => {
    vi.useFakeTimers();
    const told = new Told();
    for (const value of [1, 2, 1]) told.tell(value);
    expect([told.isOlder(1), told.isOlder(2), told.isOlder(1)]).toEqual([true, true, false]);
    for (const value of [1, 2]) told.tell(value);
    vi.advanceTimersByTime(2500);
    expect(told.isOlder(1)).toBe(false);
    vi.useRealTimers();
  });
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
  it("has a tab stop where the tokens of a shorter prompt come before its position", () => {
    const { model, all } = mount(pickerModule, { ...state(), position: 2 });
    model.update({ tokens: ["a", "b"] });
    expect(all(".isn-token").map((token) => token.getAttribute("tabindex"))).toEqual(["-1", "0"]);
  });
  it("shades by values with a printed scale", () => {
    const { model, all, one } = mount(pickerModule, state());
    model.update({ values: [0, 1, 2], values_label: "norm", values_unit: "", diverging: false });
    expect(all(".isn-token.isn-shaded").length).toBe(2);
    expect(one(".isn-scale").textContent).toContain("2.0");
    expect(all(".isn-token")[1]!.getAttribute("aria-label")).toContain("1.00");
  });
  it("offers what to shade by, and says why what cannot be chosen", () => {
    const { model, one, all } = mount(pickerModule, state());
    expect(one(".isn-shaded-by").parentElement!.hidden).toBe(true);
    const quantities = [{ name: "picked", label: "said", why_not: null }, { name: "bits", label: "bits", why_not: "no generator" }];
    model.update({ quantities, quantity: "picked" });
    expect(one(".isn-shaded-by").parentElement!.hidden).toBe(false);
    const options = all(".isn-shaded-by option") as HTMLOptionElement[];
    expect(options.map((option) => [option.textContent, option.disabled])).toEqual([["said", false], ["bits (no generator)", true]]);
    model.update({ quantities: [quantities[0], { ...quantities[1]!, why_not: null }] });
    choose(one(".isn-shaded-by"), "bits");
    expect(model.saved.at(-1)).toEqual({ quantity: "bits" });
    model.update({ shading: { ...IDLE, running: true, message: "bits", done: 32, total: 900 } });
    expect(one(".isn-progress").textContent).toContain("bits 32 of 900");
    one(".isn-stop").click();
    expect(model.last("stop shading")).toBeDefined();
  });
  it("touches two tokens of a thousand when another is picked, and only those whose value changes", () => {
    const tokens = Array.from({ length: 1000 }, (_, index) => ` t${index}`);
    const { model, all } = mount(pickerModule, { ...state(), tokens, position: 10, values: tokens.map(() => 1), values_max: 2 });
    const watcher = new MutationObserver(() => undefined);
    watcher.observe(all(".isn-tokens")[0]!, { subtree: true, attributes: true });
    const touched = () => [...new Set(watcher.takeRecords().map((record) => all(".isn-token").indexOf(record.target as HTMLElement)))].sort((a, b) => a - b);
    model.set("position", 500);
    expect(touched()).toEqual([10, 500]);
    model.update({ values: tokens.map((_, index) => (index === 7 ? 2 : 1)) });
    expect(touched()).toEqual([7]);
    watcher.disconnect();
  });
  it("tells which tokens of a long prompt are on the screen", () => {
    const list = document.createElement("div");
    const buttons = Array.from({ length: 400 }, (_, index) => {
      const button = document.createElement("button");
      Object.defineProperty(button, "offsetTop", { value: 30 * Math.floor(index / 10) }); // ten a line
      return button;
    });
    Object.defineProperty(list, "offsetTop", { value: 0 });
    Object.defineProperty(list, "clientHeight", { value: 90 });
    list.scrollTop = 300;
    expect(onScreen(list, buttons)).toEqual([90, 130]); // lines 9 (just above) to 12
  });
  it("offers examples by task, long ones cut short", () => {
    const { all, one } = mount(pickerModule, { ...state(), examples: [{ group: "sums", label: "1 + 2 =", text: "1 + 2 =" }, { group: "sums", label: "x".repeat(80), text: "long" }, { group: "", label: "own", text: "o" }] });
    expect(all("optgroup").map((group) => [group.getAttribute("label"), group.children.length])).toEqual([["sums", 2]]);
    expect(all("optgroup option")[1]!.textContent).toBe(`${"x".repeat(60)}\u2026`);
    choose(one('[aria-label="Example prompts"]'), "2");
    expect((one("textarea") as HTMLTextAreaElement).value).toBe("o");
  });
  it("leaves Enter to an input method that is composing", () => {
    const { model, one } = mount(pickerModule, state());
    const area = one("textarea") as HTMLTextAreaElement;
    area.value = "\u3068\u3046";
    const press = (isComposing: boolean) => area.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", isComposing, bubbles: true, cancelable: true }));
    expect(press(true)).toBe(true); // not prevented
    expect(model.state["text"]).toBe("When Mary");
    expect(press(false)).toBe(false);
    expect(model.state["text"]).toBe("\u3068\u3046");
  });
  it("counts positions as Python does", () => {
    const { all } = mount(pickerModule, state());
    expect(all(".isn-token").map((token) => token.title)).toEqual(["position 0", "position 1", "position 2"]);
  });
  it("marks tokens without a value beside others that have one", () => {
    const { model, all } = mount(pickerModule, state());
    const unread = () => all(".isn-token").map((token) => token.classList.contains("isn-unread"));
    expect(unread()).toEqual([false, false, false]);
    model.update({ values: [0, 1, null], values_label: "norm", values_unit: "", diverging: false });
    expect(unread()).toEqual([false, false, true]);
    model.update({ values: [null, null, null] });
    expect(unread()).toEqual([false, false, false]);
  });
  it("shades on a scale that it is given, and says where values lie beyond it", () => {
    const { model, all, one } = mount(pickerModule, state());
    model.update({ values: [0, 1, 4], values_label: "", values_unit: "bits", values_max: 2, diverging: true });
    expect(all(".isn-token")[1]!.style.getPropertyValue("--isn-v")).toBe("0.500");
    expect(one(".isn-scale").textContent).toContain("\u2265\u202f+2.0");
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
    model.update({ error: { type: "BadPrompt", message: "no such word" } });
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
  const settled = () => new Promise((resolve) => setTimeout(resolve));
  const page = (rows: any[], extra = {}) => ({ revision: 1, start: 0, matching: rows.length, rows, ...extra });
  const state = () => ({ summary: summary(), first_page: page([row(0), row(1), row(2), row(3)]), revision: 1, unit: "bits", layout: "text", query: { ...EVERYTHING }, can_read: false, error: null });

  it("says that there is nothing yet", () => {
    const { one } = mount(galleryModule, { summary: {}, first_page: null, revision: 0, unit: "bits" });
    expect(one(".isn-empty").hidden).toBe(false);
    expect(one(".isn-empty").nextElementSibling!.hasAttribute("hidden")).toBe(true);
  });
  it("lists inputs nearest first with the edge of the ball between the last in and the first out", () => {
    const { one, all } = mount(galleryModule, state());
    const kinds = all(".isn-samples .isn-sample, .isn-samples .isn-edge").map((line) => (line.classList.contains("isn-edge") ? "edge" : line.classList.contains("isn-beyond") ? "out" : "in"));
    expect(kinds).toEqual(["in", "in", "in", "edge", "out", "out"]); // the first is the head
    expect(all(".isn-badge")[0]!.textContent).toBe("the picked input");
    expect(one(".isn-verdict").textContent).toContain("Reliable.");
    expect(all(".isn-remark").map((remark) => remark.textContent)).toEqual(["One direction holds <b>91%</b> of this site's variance."]);
    expect(one(".isn-histogram")).not.toBeNull();
  });
  it("lists the new inputs where traits come one after the other, in the order in which Python sends them", () => {
    const { model, all } = mount(galleryModule, state());
    model.updateInTurn({ revision: 2, summary: summary({ ball_edge: null }), first_page: { ...page([row(4), row(5)]), revision: 2 } });
    expect(all(".isn-sample").length).toBe(3);
    expect(all(".isn-edge").length).toBe(0);
  });
  it("says the site's own bound on bits where a generator knows it", () => {
    const { model, one } = mount(galleryModule, state());
    expect(one(".isn-figure").title).toContain("Blurred by \u03b5 = 0.1, an activation of this site tells at most 12.3 bits on average");
    model.update({ summary: summary({ bits_bound: null }) });
    expect(one(".isn-figure").title).not.toContain("on average");
  });
  it("says beside the bits where they are more than the site tells on average", () => {
    const { model, one } = mount(galleryModule, state());
    expect(one(".isn-figure-label").textContent).toBe("bits about the input");
    model.update({ summary: summary({ bits: 14, bits_bound: 12.3 }) });
    expect(one(".isn-figure-label").textContent).toBe("bits, above the site's average of at most 12.3");
  });
  it("explains its words on request", () => {
    const { one, all } = mount(galleryModule, state());
    expect((one(".isn-terms") as HTMLDetailsElement).open).toBe(false);
    expect(all(".isn-terms dt").map((term) => term.textContent)).toContain("k\u2011hat");
  });
  it("says of an opened input what the hypotheses say of it", async () => {
    const { model, all, one } = mount(galleryModule, { ...state(), can_label: true });
    all(".isn-toggle")[1]!.click();
    expect(model.last("labels").params).toEqual({ rank: 1, revision: 1 });
    await model.answer(model.last("labels"), [
      { name: "subject", label: "Mary", picked: "Mary", agrees: true },
      { name: "verb", label: null, picked: "gave", agrees: false },
      { name: "digit", label: "3", picked: null, agrees: null },
    ]);
    expect([...one(".isn-said").children].map((line) => line.textContent)).toEqual([
      "\u2713 subject: Mary, as the picked input",
      "\u2717 verb: undefined; the picked input: gave",
      "digit: not defined for the picked input",
    ]);
  });
  it("shades tokens in the chosen unit", () => {
    const { model, one, all } = mount(galleryModule, state());
    expect(all(".isn-sample-token")[2]!.title).toContain("+2.89 bits");
    choose(one('[aria-label="Unit of information"]'), "nats");
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
    expect(model.state["query"]).toMatchObject({ text: "name7" });
    expect(model.last("page").params).toMatchObject({ start: 0, text: "name7" });
  });
  it("filters by a pattern, hides what lies beyond the edge and sorts, for every view of the gallery", async () => {
    const { model, one, el } = mount(galleryModule, state());
    expect(el.textContent).toContain("inside the ball (2)");
    one(".isn-check input").click();
    expect(model.last("page").params).toMatchObject({ inside: true, regex: false });
    await model.answer(model.last("page"), page([row(0), row(1)]));
    expect(el.textContent).toContain("2 of 2 different inputs inside the ball");
    one(".isn-regex").click();
    expect(one(".isn-regex").getAttribute("aria-pressed")).toBe("true");
    choose(one('[aria-label="Sort the inputs"]'), "weight");
    expect(model.last("page").params).toMatchObject({ inside: true, regex: true, sort: "weight" });
    model.update({ query: { text: "Mary", regex: false, inside: false, sort: "count" } }); // as the other view does
    expect((one(".isn-filter") as HTMLInputElement).value).toBe("Mary");
    expect((one(".isn-check input") as HTMLInputElement).checked).toBe(false);
    expect(model.last("page").params).toMatchObject({ text: "Mary", sort: "count" });
    await model.answer(model.last("page"), page([row(1)]));
    expect(el.textContent).toContain("1 of 1 that match, of 4 different inputs");
  });
  it("keeps what was typed when another choice comes at once", () => {
    const { model, one } = mount(galleryModule, state());
    const filter = one(".isn-filter") as HTMLInputElement;
    filter.value = "na";
    filter.dispatchEvent(new Event("input"));
    one(".isn-regex").click(); // before the pause is over
    expect(model.state["query"]).toMatchObject({ text: "na", regex: true });
    expect(filter.value).toBe("na");
  });
  it("says what is wrong with a pattern where it is written, and keeps the list", async () => {
    const { model, one, all } = mount(galleryModule, state());
    model.update({ query: { text: "(", regex: true, inside: false, sort: "distance" } });
    await model.refuse(model.last("page"), "no regular expression", "escape brackets");
    expect(one(".isn-filter-fault").textContent).toBe("no regular expression: escape brackets");
    expect(all(".isn-faults .isn-error").length).toBe(0);
    expect(all(".isn-sample").length).toBe(5);
  });
  it("shows nothing of the last pick while the filter's answer about the next is on its way, or is an error", async () => {
    const { model, all, el } = mount(galleryModule, { ...state(), query: { ...EVERYTHING, text: "(?i)x", regex: true } });
    const rows = [row(0, { text: "new" })];
    model.update({ revision: 2, summary: summary(), first_page: { ...page(rows), revision: 2 } });
    expect(all(".isn-sample").length).toBe(0);
    await model.refuse(model.last("page"), "no regular expression", "escape");
    expect(all(".isn-sample").length).toBe(2); // the head, and this pick's own
    expect(el.textContent).toContain("1 of 1 different inputs");
  });
  it("asks again for what was stopped, and shows nothing of samples that are gone", async () => {
    const { model, all, one } = mount(galleryModule, { ...state(), can_read: true });
    all(".isn-toggle")[0]!.click();
    await model.refuse(model.last("along"), "stopped on request", "");
    expect(one(".isn-along").textContent).toContain("stopped on request");
    all(".isn-toggle")[0]!.click();
    all(".isn-toggle")[0]!.click();
    expect(model.sent.filter(({ method }) => method === "along").length).toBe(2);
    await model.answer(model.last("along"), null);
    await settled();
    expect(all(".isn-counts").length).toBe(0);
  });
  it("keeps the focus on an input when the list is drawn again", () => {
    const { model, all } = mount(galleryModule, state());
    all(".isn-toggle")[2]!.focus();
    model.update({ unit: "nats" });
    expect(document.activeElement).toBe(all(".isn-toggle")[2]);
    model.update({ revision: 2, first_page: { ...page([row(0), row(1), row(2)]), revision: 2 } });
    expect(document.activeElement).toBe(all(".isn-toggle")[2]);
    expect(all(".isn-toggle").map((toggle) => toggle.tabIndex)).toEqual([-1, -1, 0]);
  });
  it("says what log P is where P(X) cannot make the input, and nothing where P(X) cannot score", () => {
    const { model, all, one } = mount(galleryModule, { ...state(), first_page: page([row(0, { on_support: false, log_prior: null })]) });
    all(".isn-toggle")[0]!.click();
    expect(one(".isn-facts").textContent).toContain("log P\u2212\u221e");
    model.update({ summary: summary({ prior_is_exact: false }), revision: 2, first_page: { ...page([row(0)]), revision: 2 } });
    all(".isn-toggle")[0]!.click();
    expect(one(".isn-facts").textContent).not.toContain("log P");
  });
  it("aligns short inputs by itself, longer ones on request and very long ones never", () => {
    const aligned = (layout: string, length: number) => {
      const tokens = Array.from({ length }, (_, index) => ` t${index}`);
      const first_page = page([row(0, { tokens, at: tokens.map((_, index) => (index < stand ? index : null)), info: tokens.map(() => 0) })]);
      return mount(galleryModule, { ...state(), first_page, layout, summary: summary({ tokens }) }).all(".isn-slots").length > 0;
    };
    let stand = 201;
    expect([aligned("auto", 12), aligned("auto", 13), aligned("aligned", 13), aligned("aligned", 201), aligned("text", 3)]).toEqual([true, false, true, false, false]);
    stand = 3; // of eight tokens most have nothing under them
    expect([aligned("auto", 8), aligned("aligned", 8)]).toEqual([false, true]);
  });
  it("draws the edge in any selection that is in order of distance, and nowhere else", async () => {
    const { model, all } = mount(galleryModule, state());
    model.update({ query: { ...EVERYTHING, text: "name" } });
    await model.answer(model.last("page"), page([row(1), row(3)]));
    expect(all(".isn-edge").length).toBe(1);
    model.update({ query: { ...EVERYTHING, sort: "weight" } });
    await model.answer(model.last("page"), page([row(1), row(3)]));
    expect(all(".isn-edge").length).toBe(0);
  });
  it("loads what follows when the end of the list comes near", async () => {
    const rows = Array.from({ length: 50 }, (_, index) => row(index));
    const { model, one, all } = mount(galleryModule, { ...state(), first_page: page(rows, { matching: 5000 }) });
    const list = one(".isn-samples");
    Object.defineProperty(list, "scrollHeight", { value: 1000 });
    Object.defineProperty(list, "clientHeight", { value: 300 });
    list.dispatchEvent(new Event("scroll")); // still at the top: 1000 - 300 > 600
    expect(model.last("page")).toBeUndefined();
    list.scrollTop = 200;
    for (let i = 0; i < 5; i += 1) list.dispatchEvent(new Event("scroll"));
    expect(model.sent.filter(({ method }) => method === "page").length).toBe(1); // one at a time
    await model.answer(model.last("page"), page(rows.map((_, i) => row(50 + i)), { start: 50, matching: 5000 }));
    expect(all(".isn-sample").length).toBe(101);
  });
  it("opens an input for its probabilities and the distances along it", async () => {
    const { model, all, one } = mount(galleryModule, { ...state(), can_read: true });
    const [toggle] = all(".isn-toggle");
    toggle!.click();
    expect(toggle!.getAttribute("aria-expanded")).toBe("true");
    expect(one(".isn-facts").textContent).toContain("log q without it\u221212.26 bits");
    expect(one(".isn-facts").textContent).toMatch(/^weight\d/); // a narrow list has no column for it
    expect(model.last("along").params).toEqual({ rank: 0, revision: 1, hover: false });
    await model.answer(model.last("along"), [3.2, 1.1, 0.05]);
    await settled();
    expect([...all(".isn-along tr")].at(-1)!.textContent).toBe("d, were it read here3.201.100.05");
    expect(one(".isn-along .isn-counts").textContent).toBe("0.05");
    toggle!.click();
    expect(all(".isn-detail").length).toBe(0);
  });
  it("names the distance at a token on hover, and asks for it once", async () => {
    const { model, all } = mount(galleryModule, { ...state(), can_read: true });
    for (let i = 0; i < 2; i += 1) {
      all(".isn-sample")[1]!.dispatchEvent(new Event("pointerenter"));
      await new Promise((resolve) => setTimeout(resolve, 150));
      if (i === 0) await model.answer(model.last("along"), [3.2, 1.1, 0.05]);
      await settled();
    }
    expect(model.sent.filter(({ method }) => method === "along").length).toBe(1);
    const titles = all(".isn-sample")[1]!.querySelectorAll<HTMLElement>(".isn-sample-token");
    expect(titles[1]!.title).toBe("When: \u22120.72 bits; d = 1.10, were the activation read here");
    expect(titles[2]!.title).toContain("d = 0.05, were the activation read here (this one counts)");
  });
  it("asks anew for an input that is opened while what was hovered is on its way", async () => {
    const { model, all, one } = mount(galleryModule, { ...state(), can_read: true });
    all(".isn-sample")[1]!.dispatchEvent(new Event("pointerenter"));
    await new Promise((resolve) => setTimeout(resolve, 150));
    const hover = model.last("along");
    all(".isn-toggle")[0]!.click();
    expect(model.last("along").params.hover).toBe(false);
    await model.refuse(hover, "a newer request took this one's place", "");
    await model.answer(model.last("along"), [3.2, 1.1, 0.05]);
    await settled();
    expect(one(".isn-along .isn-counts").textContent).toBe("0.05");
  });
  it("saves no file of two inversions", async () => {
    const files = watchDownloads();
    const { model, all, el } = mount(galleryModule, { ...state(), query: { ...EVERYTHING, text: "na" } });
    all(".isn-list .isn-link")[0]!.click();
    const rows = Array.from({ length: 51 }, (_, index) => row(index));
    await model.answer(model.last("page"), page(rows.slice(0, 50), { matching: 51 }));
    await settled();
    await model.answer(model.last("page"), page(rows.slice(50), { matching: 51, start: 50, revision: 2 }));
    await settled();
    expect(files).toEqual([]);
    expect(el.querySelector(".isn-error")!.textContent).toContain("Save once more");
  });
  it("speaks of proposals only where they can be asked for", () => {
    const known = summary({ bits: 5, fixed: { sentence: "s", states: ["free"], words: [""] } });
    expect(mount(galleryModule, { ...state(), summary: known }).one(".isn-summary").textContent).not.toContain("Propose");
    expect(mount(galleryModule, { ...state(), summary: known, can_label: true }).one(".isn-summary").textContent).toContain("Propose (below)");
  });
  it("saves all that is listed as a file, fifty rows a message", async () => {
    const files = watchDownloads();
    const { model, all } = mount(galleryModule, { ...state(), query: { ...EVERYTHING, text: "na" } });
    all(".isn-list .isn-link")[0]!.click();
    const rows = Array.from({ length: 51 }, (_, index) => row(index, { text: `=${index}` }));
    await model.answer(model.last("page"), page(rows.slice(0, 50), { matching: 51 }));
    await settled();
    expect(model.last("page").params).toMatchObject({ start: 50, size: 50, text: "na" });
    await model.answer(model.last("page"), page(rows.slice(50), { start: 50, matching: 51 }));
    await settled();
    const [name, text] = files[0]!;
    const lines = text.trim().split("\r\n");
    expect([name, lines.length]).toEqual(["inputs.csv", 52]);
    expect(lines[0]).toContain("weight,weight_in_rates,count,in_ball,is_copy,on_support,log_q_nats,log_no_condition_nats,log_prior_nats,");
    expect(lines[1]).toBe("0,'=0,0,0.5,0.5,1,true,true,true,-3,-8.5,-9,0.1,0.99,<bos>When Mary,blocks.0.hook_resid_post,0.1");
  });
  it("moves between inputs with the arrow keys", () => {
    const { all } = mount(galleryModule, state());
    const toggles = all(".isn-toggle");
    expect(toggles.map((toggle) => toggle.tabIndex)).toEqual([0, -1, -1, -1]);
    toggles[0]!.focus();
    key(toggles[0]!, "ArrowDown");
    expect(document.activeElement).toBe(toggles[1]);
    key(toggles[1]!, "End");
    expect(document.activeElement).toBe(toggles[3]);
    expect(toggles.map((toggle) => toggle.tabIndex)).toEqual([-1, -1, -1, 0]);
  });
  it("gives the keyboard an input that was clicked", () => {
    const { all } = mount(galleryModule, state());
    all(".isn-sample-text")[1]!.click();
    expect(document.activeElement).toBe(all(".isn-toggle")[all(".isn-sample").findIndex((line) => line.querySelector(".isn-detail")) - 1]);
  });
  it("has no column of counts where every input was sampled once", async () => {
    const { model, one } = mount(galleryModule, { ...state(), first_page: page([row(0), row(1)], { matching: 3 }) });
    expect(one(".isn-samples").classList.contains("isn-no-counts")).toBe(true);
    one(".isn-more").click();
    await model.answer(model.last("page"), page([row(2, { count: 4 })], { start: 2, matching: 3 }));
    expect(one(".isn-samples").classList.contains("isn-no-counts")).toBe(false);
  });
  it("closes an input with Escape, and nothing else hears of it", () => {
    const { all, el } = mount(galleryModule, state());
    const toggle = all(".isn-toggle")[1]!;
    let heard = 0;
    el.addEventListener("keydown", () => (heard += 1));
    key(toggle, "Escape");
    expect(heard).toBe(1);
    toggle.click();
    const inside = all(".isn-along-box")[0]!;
    inside.focus();
    key(inside, "Escape");
    expect([all(".isn-detail").length, heard]).toEqual([0, 1]);
    expect(document.activeElement).toBe(toggle);
  });
  it("says in words what the activation fixes, and marks it over the columns", () => {
    const fixed = { sentence: "It fixes \u201c Mary\u201d.", states: ["", "free", "pinned"], words: ["", "30 % of the posterior", "99 % of the posterior"] };
    const { model, all, one } = mount(galleryModule, { ...state(), summary: summary({ fixed }), layout: "aligned" });
    expect(one(".isn-answer").textContent).toBe("It fixes \u201c Mary\u201d.");
    const head = all(".isn-sample-head .isn-slot");
    expect(head.map((slot) => slot.className)).toEqual(["isn-slot isn-state-unknown", "isn-slot isn-state-free", "isn-slot isn-state-pinned"]);
    expect(head[2]!.title).toBe("fixed: 99 % of the posterior");
    expect(one(".isn-key").textContent).toContain("fixed");
    model.update({ layout: "text" }); // as text the picked input heads them all the same
    expect(all(".isn-slots-text .isn-state-mark").map((sign) => sign.parentElement!.className)).toEqual(["isn-slot isn-state-pinned"]);
    expect(all(".isn-slots").length).toBe(0);
    expect(one(".isn-key").textContent).toContain("fixed");
    model.update({ summary: summary() });
    expect(all(".isn-answer").length).toBe(0);
  });
  it("says that samples were weighed anew until new ones come", () => {
    const { model, el } = mount(galleryModule, { ...state(), summary: summary({ bandwidth: 0.2 }) });
    expect(el.textContent).toContain("Samples drawn at \u03b5 = 0.1, weighed anew for \u03b5 = 0.2.");
    const verdict = () => el.querySelector(".isn-verdict")!;
    expect(verdict().textContent).not.toContain("For now"); // nothing more is on its way
    model.update({ awaited: true });
    expect([verdict().textContent!.startsWith("\u2026For now: "), verdict().classList.contains("isn-tone-quiet")]).toEqual([true, true]);
    model.update({ summary: summary() });
    expect(el.textContent).not.toContain("weighed anew");
    expect(verdict().textContent).not.toContain("For now");
    model.update({ awaited: false });
    expect(verdict().textContent).not.toContain("For now");
  });
});

describe("ConsistencyPanel", () => {
  const estimate = { fcr: 0.5, low: 0.4, high: 0.6, chance: 0.1, plain: 0.45, star: 0.44, n: 20 };
  const state = () => ({ features: [{ name: "subject", description: "" }], rows: [], chart: null, ready: true, status: IDLE, measure_label: "slow", error: null });

  it("waits for an inversion, but leaves a running measurement its Stop and what was measured", () => {
    const rows = [{ name: "a", label: "b", here: null, across: null, note: null }];
    const { one } = mount(panelModule, { ...state(), ready: false, rows, status: { ...IDLE, running: true }, measured: [{ name: "a", where: "there", ...estimate }] });
    expect(one(".isn-empty").hidden).toBe(false);
    expect([one(".isn-hypotheses").hidden, one(".isn-rates").hidden, one(".isn-measure").hidden]).toEqual([true, true, true]);
    expect([one(".isn-progress").hidden, one(".isn-history").hidden]).toEqual([false, false]);
  });
  it("offers the first ready-made hypothesis once there are some, and keeps what somebody chose", () => {
    const { model, one } = mount(panelModule, { ...state(), features: [] });
    const kind = one(".isn-add select") as HTMLSelectElement;
    expect(kind.value).toBe("=contains");
    model.update({ features: [{ name: "subject", description: "" }, { name: "verb", description: "" }] });
    expect(kind.value).toBe("+subject");
    choose(kind, "=regex");
    model.update({ features: [{ name: "verb", description: "" }] });
    expect(kind.value).toBe("=regex");
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
    expect(mount(panelModule, { ...state(), rows: [{ ...row, here: null }], doubt: "The rates are grey." }).one(".isn-remark").hidden).toBe(true);
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
  it("says how far a rate is above chance, and what it is without weights", () => {
    const { all } = mount(panelModule, { ...state(), rows: [{ name: "a", label: "b", here: estimate, across: null, note: null }] });
    expect(all(".isn-beside").map((line) => line.textContent)).toEqual(["FCR* 0.44 \u00b7 plain 0.45"]);
  });
  it("saves all rates as one file", () => {
    const files = watchDownloads();
    const row = { name: "=evil", label: "a, b", here: { ...estimate, verdict: "LOW_ESS" }, across: null, note: null };
    const { all } = mount(panelModule, { ...state(), place: { site: "blocks.1", bandwidth: 0.3, input: "1+1=" }, doubt: "They are grey.", rows: [row, { ...row, here: null }], measured: [{ name: "subject", where: "at blocks.0", site: "blocks.0", bandwidth: 0.1, input: "12+1=", ...estimate, p_value: 0.01, notes: "Rough." }] });
    all(".isn-table-part .isn-downloads > .isn-link")[0]!.click();
    expect(files).toEqual([
      [
        "rates.csv",
        "hypothesis,over,site,bandwidth,input,label,fcr,low,high,chance,fcr_star,fcr_plain,n,n_counts,p_value,verdict,notes\r\n" +
          "'=evil,this input,blocks.1,0.3,1+1=,\"a, b\",0.5,0.4,0.6,0.1,0.44,0.45,20,effective samples,,LOW_ESS,They are grey.\r\n" +
          "subject,across inputs,blocks.0,0.1,12+1=,,0.5,0.4,0.6,0.1,0.44,0.45,20,inputs,0.01,,Rough.\r\n",
      ],
    ]);
  });
  it("keeps every measurement, of whatever was picked then", () => {
    const { model, all, one } = mount(panelModule, state());
    expect(one(".isn-history").hidden).toBe(true);
    model.update({ measured: [{ name: "subject", where: "blocks.2, \u03b5 = 0.1, inputs like 'a b'", ...estimate, p_value: 0.004 }] });
    expect(one(".isn-history").hidden).toBe(false);
    expect(one(".isn-history summary").textContent).toBe("Measured so far (1)");
    expect([...all(".isn-history tbody tr")[0]!.children].map((cell) => cell.textContent)).toEqual(["subject", "blocks.2, \u03b5 = 0.1, inputs like 'a b'", "0.50 (0.40\u20130.60)FCR* 0.44 \u00b7 plain 0.45", "0.10", "0.004"]);
  });
  it("says why a measurement is not to be relied on, also when something else is picked", () => {
    const notes = "Not to be relied on: of 8 inversions 6 missed by the generator. Rough.";
    const { all } = mount(panelModule, { ...state(), measured: [{ name: "subject", where: "w", site: "s", bandwidth: 0.1, input: "i", ...estimate, notes }] });
    const [cell] = all(".isn-history td.isn-doubtful");
    expect(cell!.textContent).toContain("Not to be relied on: of 8 inversions 6 missed by the generator.");
  });
  it("has columns of rates across inputs once there is one", () => {
    const row = { name: "subject", label: "Mary", here: estimate, across: null as unknown, note: null };
    const { model, one } = mount(panelModule, { ...state(), rows: [row] });
    expect(one(".isn-table-part table").classList.contains("isn-no-across")).toBe(true);
    model.update({ rows: [{ ...row, across: estimate }] });
    expect(one(".isn-table-part table").classList.contains("isn-no-across")).toBe(false);
  });
  it("keeps a rate across inputs where there is none for this input", () => {
    const { all } = mount(panelModule, { ...state(), rows: [{ name: "subject", label: null, here: null, across: estimate, note: "not defined for the picked input" }] });
    const cells = all(".isn-table-part tbody td").map((cell) => cell.textContent);
    expect(cells.slice(0, 2)).toEqual(["not defined for the picked input", "0.50 (0.40\u20130.60)FCR* 0.44 \u00b7 plain 0.45"]);
  });
  it("is not read out again for each number of a training", () => {
    const { model, one } = mount(panelModule, state());
    const say = (message: string) => model.update({ status: { ...IDLE, running: true, done: 1, total: 9, message } });
    say("loss 2.31, 52 s left");
    const said = one(".isn-progress [role=status]").textContent;
    say("loss 2.29, 51 s left");
    expect(one(".isn-progress [role=status]").textContent).toBe(said);
    expect(one(".isn-progress-words").textContent).toContain("2.29");
    say("saving");
    expect(one(".isn-progress [role=status]").textContent).toContain("saving");
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
    key(document.activeElement!, "End");
    expect(document.activeElement).toBe(cell);
    key(cell, "Home");
    expect(document.activeElement?.getAttribute("title")).toContain("blocks.1.hook_attn_out");
  });
  it("reaches what unfolds the heads with the arrow keys", () => {
    const { all, one } = mount(scopeModule, state(), host);
    const first = all("button.isn-map-cell")[2]!;
    first.focus();
    key(first, "ArrowLeft");
    const toggle = one('.isn-map-toggle[data-layer="1"]');
    expect(document.activeElement).toBe(toggle);
    key(toggle, "ArrowUp");
    expect(document.activeElement).toBe(one('.isn-map-toggle[data-layer="0"]'));
    key(document.activeElement!, "ArrowUp"); // there is none
    key(document.activeElement!, "ArrowDown");
    key(document.activeElement!, "ArrowRight");
    expect(document.activeElement).toBe(first);
    toggle.click();
    const unfolded = one('.isn-map-toggle[data-layer="1"]');
    unfolded.focus();
    key(unfolded, "ArrowDown");
    expect(document.activeElement?.getAttribute("aria-label")).toContain("layer 1, head 0");
  });
  it("offers the way back from a cell of the sweep", () => {
    const { model, one } = mount(scopeModule, state(), host);
    const back = one(".isn-back");
    expect(back.hidden).toBe(true);
    model.update({ site: "blocks.0.hook_resid_post", came_from: "blocks.1.hook_resid_post" });
    expect([back.hidden, back.textContent]).toEqual([false, "\u2190 back to blocks.1.hook_resid_post"]);
    back.click();
    expect(model.state["site"]).toBe("blocks.1.hook_resid_post");
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
    expect(el.textContent).toContain("tells at most 23 bits of its input on average");
    (one(".isn-slider") as HTMLInputElement).value = "0";
    one(".isn-slider").dispatchEvent(new Event("input"));
    expect(el.textContent).not.toContain("on average");
    model.update({ bound: {} });
    expect(el.textContent).not.toContain("on average");
  });
  it("moves the slider by some ten percent with an arrow", () => {
    vi.useFakeTimers();
    const { model, one } = mount(scopeModule, state(), host);
    key(one(".isn-slider"), "ArrowRight");
    vi.advanceTimersByTime(200);
    expect(model.state["bandwidth"]).toBeCloseTo(0.11, 2);
    for (let i = 0; i < 3; i += 1) key(one(".isn-slider"), "ArrowLeft");
    vi.advanceTimersByTime(200);
    expect(model.state["bandwidth"]).toBeLessThan(0.09);
  });
  it("does not move a slider that is being moved by what is older", () => {
    vi.useFakeTimers();
    const { model, one } = mount(scopeModule, state(), host);
    const slider = one(".isn-slider") as HTMLInputElement;
    slider.value = "172";
    slider.dispatchEvent(new Event("input"));
    model.update({ bound: { bandwidth: 0.1, bits: 5 } }); // the answer to what was picked before
    expect(slider.value).toBe("172");
    vi.advanceTimersByTime(100);
    expect(model.state["bandwidth"]).toBe(bandwidthAt(172));
    vi.useRealTimers();
  });
  it("gives a button that waited its focus back, unless something else has it by then", () => {
    const { model, el, one } = mount(scopeModule, state(), host);
    document.body.replaceChildren(el);
    const invert = one(".isn-go button") as HTMLButtonElement;
    for (const other of [null, one(".isn-slider")]) {
      invert.focus();
      model.update({ busy: true });
      expect(invert.disabled).toBe(true);
      (document.activeElement as HTMLElement | null)?.blur(); // as browsers do
      other?.focus();
      model.update({ busy: false });
      expect(document.activeElement).toBe(other ?? invert);
    }
    document.body.replaceChildren();
  });
  it("leaves the focus to what took it outside of a shadow tree", () => {
    const { model, el, one } = mount(scopeModule, state(), host);
    const box = document.createElement("div");
    const cell = document.createElement("textarea");
    document.body.replaceChildren(box, cell);
    box.attachShadow({ mode: "open" }).append(el);
    const invert = one(".isn-go button") as HTMLButtonElement;
    invert.focus();
    model.update({ busy: true });
    cell.focus();
    model.update({ busy: false });
    expect(document.activeElement).toBe(cell);
    document.body.replaceChildren();
  });
  it("dims what is shown while what is typed is no prompt", () => {
    const { model, el, one } = mount(scopeModule, { ...state(), stale: "resid at 'x'", unread: true }, host);
    expect(one(".isn-stale").textContent).toContain("no prompt of this model");
    expect((one(".isn-go button") as HTMLButtonElement).disabled).toBe(true);
    model.update({ stale: "", unread: false });
    expect(one(".isn-stale").hidden).toBe(true);
    expect(el.querySelector("[data-isn-stale]")).toBeNull();
  });
  it("offers more samples and a wider bandwidth where what is shown is in doubt", () => {
    const { model, one, all } = mount(scopeModule, state(), host);
    expect(one(".isn-wider").hidden).toBe(true);
    model.update({ wider: 0.2 });
    expect(one(".isn-wider").hidden).toBe(false);
    const [more, wider] = all(".isn-wider button") as HTMLButtonElement[];
    expect([more!.hidden, wider!.textContent]).toEqual([true, "Try \u03b5 = 0.2"]);
    wider!.click();
    expect(model.state["bandwidth"]).toBe(0.2);
    model.update({ stale: "the last pick" });
    expect([one(".isn-wider").hidden, wider!.disabled]).toEqual([false, true]);
    model.update({ stale: "", more_samples: 256 });
    expect([more!.hidden, more!.textContent]).toEqual([false, "Try 256 samples"]);
    expect(one(".isn-wider").textContent).toContain("More samples find more near ones");
    more!.click();
    expect(model.state["n"]).toBe(256);
    model.update({ wider: null });
    expect([one(".isn-wider").hidden, wider!.hidden]).toEqual([false, true]);
    expect(mount(scopeModule, { ...state(), frozen: true, wider: 0.2 }, host).one(".isn-wider").hidden).toBe(true);
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
    expect(model.sent.map((message) => message.method).filter((method) => method !== "ping")).toEqual(["begin", "search", "train"]);
    model.update({ training: { ...IDLE, running: true, message: "training at s" } });
    expect(all(".isn-offer button").map((button) => (button as HTMLButtonElement).disabled)).toEqual([false, true]);
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
  it("names no button in a saved page whose inputs are those of another pick", () => {
    const { one } = mount(scopeModule, { ...state(), frozen: true, stale: "blocks.0.hook_resid_post at 'to'" }, host);
    expect(one(".isn-stale").textContent).toBe("Still shown: the inputs for blocks.0.hook_resid_post at 'to'.");
  });
  it("offers nothing to press in a saved page but what works there", () => {
    const { all, one } = mount(scopeModule, { ...state(), frozen: true }, host);
    expect([one(".isn-slider").hidden, one(".isn-slider-ends").hidden]).toEqual([true, true]);
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

describe("without a kernel", () => {
  const state = () => ({ text: "When Mary", tokens: ["<bos>", "When", " Mary"], position: -1, values: null, examples: [], editable: true, error: null });
  const said = (el: HTMLElement) => el.querySelector<HTMLElement>(".isn-no-kernel")!;

  it("says so after a while without an answer, takes the controls out of use, and back into use at an answer", () => {
    vi.useFakeTimers();
    const { model, el, one, all } = mount(pickerModule, state());
    all(".isn-token")[1]!.click();
    vi.advanceTimersByTime(7000);
    expect(said(el).hidden).toBe(true);
    vi.advanceTimersByTime(2000);
    expect(said(el).hidden).toBe(false);
    expect(said(el).textContent).toContain("busy");
    expect((one("textarea") as HTMLTextAreaElement).disabled).toBe(false); // it may only be busy
    vi.advanceTimersByTime(30_000);
    expect(said(el).textContent).toMatch(/busy with something else.* If it was restarted, run the notebook again/);
    expect((one("textarea") as HTMLTextAreaElement).disabled).toBe(true);
    const asked = model.sent.filter(({ method }) => method === "ping").length;
    expect(asked).toBeGreaterThan(3); // it goes on asking
    model.emit("msg:custom", { kind: "result", id: model.last("ping").id, value: true });
    expect([said(el).hidden, (one("textarea") as HTMLTextAreaElement).disabled]).toEqual([true, false]);
  });
  it("asks once more for what was not answered when an answer comes at last, under the same id", () => {
    vi.useFakeTimers();
    const { model, all } = mount(pickerModule, state());
    all(".isn-token")[1]!.click();
    const picks = () => model.sent.filter(({ method }) => method === "pick");
    const ping = () => model.emit("msg:custom", { kind: "result", id: model.last("ping").id, value: true });
    expect(picks().length).toBe(1);
    ping();
    expect(picks().length).toBe(1); // it is only not done yet
    all(".isn-token")[2]!.click();
    vi.advanceTimersByTime(1500); // the first questions come soon after one another
    ping();
    expect(picks().map(({ id }) => id)).toEqual([picks()[0].id, picks()[1].id, picks()[0].id, picks()[1].id]);
    model.emit("msg:custom", { kind: "result", id: picks()[0].id, value: null });
    model.emit("msg:custom", { kind: "result", id: picks()[1].id, value: null });
    vi.advanceTimersByTime(60_000);
    ping();
    expect(picks().length).toBe(4);
  });
  it("asks again for what went another way than what was answered meanwhile", async () => {
    vi.useFakeTimers();
    const { model, all } = mount(pickerModule, state());
    all(".isn-token")[1]!.click();
    const [lost] = model.sent.filter(({ method }) => method === "pick");
    all(".isn-token")[2]!.click();
    model.emit("msg:custom", { kind: "result", id: model.last("pick").id, value: null }); // no answer to the first, nor to its ping
    vi.advanceTimersByTime(1500);
    model.emit("msg:custom", { kind: "result", id: model.last("ping").id, value: true });
    expect(model.sent.filter(({ id }) => id === lost.id).length).toBe(2);
  });
  it("stays quiet where every write is answered", () => {
    vi.useFakeTimers();
    const { model, el, all } = mount(pickerModule, state());
    for (let i = 0; i < 5; i += 1) {
      all(".isn-token")[i % 3]!.click();
      model.emit("msg:custom", { kind: "result", id: model.last("ping").id, value: true });
      vi.advanceTimersByTime(9000);
    }
    expect(said(el).hidden).toBe(true);
  });
  it("says so at once where nothing can be sent, as after a restart", () => {
    const { model, el, all } = mount(pickerModule, state());
    model.send = () => {
      throw new Error("Comm is closed");
    };
    model.emit("comm_live_update");
    expect(said(el).hidden).toBe(false);
    expect(all(".isn-token").every((token) => (token as HTMLButtonElement).disabled)).toBe(true);
    model.send = () => undefined;
    expect(all(".isn-faults .isn-error").length).toBe(0);
  });
  it("asks again when the line is said to have changed", () => {
    const { model } = mount(pickerModule, state());
    model.emit("comm_live_update");
    expect(model.last("ping")).toBeDefined();
  });
  it("is said once, by the outermost view", async () => {
    vi.useFakeTimers();
    let inner: ReturnType<typeof mount> | null = null;
    const host = {
      getWidget: async (ref: string) => ({
        render: async ({ el }: { el: HTMLElement }) => {
          if (ref !== "anywidget:p") return;
          const model = new FakeModel(state());
          pickerModule.render({ model, el });
          inner = { model, el } as any;
        },
      }),
    };
    const map = { n_layers: 1, n_heads: 1, kinds: [], head_template: null, available: [] };
    const outer = mount(scopeModule, { site_map: map, picker: "anywidget:p", gallery: null, panel: null, status: IDLE, site: "", bandwidth: 0.1, frozen: true }, host);
    await vi.advanceTimersByTimeAsync(0);
    inner!.el.querySelector<HTMLElement>(".isn-token")!.click();
    vi.advanceTimersByTime(9000);
    expect([...outer.el.querySelectorAll<HTMLElement>(".isn-no-kernel")].map((note) => note.hidden)).toEqual([false, true]);
    vi.advanceTimersByTime(30_000);
    expect((inner!.el.querySelector(".isn-token") as HTMLButtonElement).disabled).toBe(true);
  });
});

describe("a saved page", () => {
  it("pages without a kernel and refuses what needs one", async () => {
    const model = new PageModel({ revision: 4, site: "a", frozen_traits: ["site"] }, [row(0), row(1)]);
    const got: any[] = [];
    model.on("msg:custom", (message) => got.push(message));
    model.send({ kind: "request", id: "1", method: "page", params: { ...EVERYTHING, start: 0, size: 50, text: "name1" } });
    model.send({ kind: "request", id: "3", method: "page", params: { ...EVERYTHING, start: 0, size: 50, text: "(", regex: true } });
    model.send({ kind: "request", id: "2", method: "invert", params: {} });
    model.set("site", "b");
    await Promise.resolve();
    expect(got[0].value).toMatchObject({ matching: 1, revision: 4 });
    expect(got[1]).toMatchObject({ kind: "error", type: "InvalidArgument" });
    expect(got[2]).toMatchObject({ kind: "error", type: "NoKernel" });
    expect(model.get("site")).toBe("a");
  });
  it("colours its map by what was saved", () => {
    const maps = { "": {}, bits: { label: "bits", unit: "bits", max: 2, values: { a: { value: 1, words: "1 bit", doubtful: false } } } };
    const model = new PageModel({ map_by: "", map_values: {}, maps }, undefined);
    model.set("map_by", "bits");
    expect(model.get("map_values")).toBe(maps.bits);
    model.set("map_by", "");
    expect(model.get("map_values")).toEqual({});
  });
});
