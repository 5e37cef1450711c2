import { afterEach, describe, expect, it, vi } from "vitest";
import chart from "../src/chart.ts";
import { mount, watchDownloads } from "./fake.ts";

const SPEC = {
  $schema: "https://vega.github.io/schema/vega-lite/v6.json",
  data: { values: [{ rate: 0.25, name: "first" }, { rate: 0.75, name: "second" }] },
  mark: "bar",
  encoding: { x: { field: "rate", type: "quantitative" }, y: { field: "name", type: "nominal" } },
};
const state = (extra: Record<string, unknown> = {}) => ({ spec: SPEC, embed_options: {}, _vl_selections: {}, _params: {}, debounce_wait: 0, ...extra });
const drawn = (el: HTMLElement) => vi.waitFor(() => expect(el.querySelector(".isn-vega svg, .isn-error")).not.toBeNull(), 5000);
const labels = (el: HTMLElement) => [...el.querySelectorAll(".isn-vega svg text")].map((text) => text.textContent);

const complaints = vi.spyOn(console, "error");

afterEach(() => {
  expect(complaints).not.toHaveBeenCalled();
  document.body.removeAttribute("style");
  document.body.replaceChildren();
});

describe("a chart", () => {
  it("is drawn as SVG, with buttons to save it and without Vega's own menu", async () => {
    const { el, all } = mount(chart, state());
    await drawn(el);
    expect(labels(el)).toEqual(expect.arrayContaining(["first", "second", "rate"]));
    expect(all(".isn-downloads button").map((button) => button.textContent)).toEqual(["SVG", "PNG"]);
    expect(el.querySelector("details, .vega-actions")).toBeNull();
  });
  it("is saved under the name of what it shows, with the words of where that was measured", async () => {
    const files = watchDownloads();
    const { el, model, all } = mount(chart, state());
    await drawn(el);
    const save = async () => {
      const before = files.length;
      all(".isn-downloads button")[0]!.click();
      await vi.waitFor(() => expect(files.length).toBe(before + 1), 5000);
      return files.at(-1)!;
    };
    const [plain, untitled] = await save();
    expect(plain).toBe("chart.svg");
    model.update({ file_name: "sweep", caption: "Measured at \u03b5 = 0.3, 8 inputs like '4 3 7'" });
    const [name, picture] = await save();
    expect(name).toBe("sweep.svg");
    expect(untitled).not.toContain("Measured at");
    expect(picture).toContain("Measured at");
    expect(picture).toContain("like '4 3 7'");
    expect(labels(el).join(" ")).not.toContain("Measured at"); // on the page that stands beside the chart
  });
  it("has the page's colours", async () => {
    document.body.style.backgroundColor = "rgb(22, 25, 29)";
    const { el } = mount(chart, state());
    await drawn(el);
    expect(el.querySelector(".isn-vega svg text")!.getAttribute("fill")).toBe("#e3e6ea");
  });
  it("has the blue of the page's map, light or dark, and leaves the data's words alone", async () => {
    const spec = { ...SPEC, data: { values: [{ rate: 1, name: "#1f6fc4" }] }, mark: { type: "bar", color: "#1f6fc4", stroke: "rgba(31, 111, 196, 0.5)" } };
    const bar = (el: HTMLElement) => el.querySelector(".isn-vega .mark-rect path")!;
    const light = mount(chart, state({ spec })).el;
    await drawn(light);
    expect(bar(light).getAttribute("fill")).toBe("#1f6fc4");
    document.body.style.backgroundColor = "rgb(22, 25, 29)";
    const { el } = mount(chart, state({ spec }));
    await drawn(el);
    expect(bar(el).getAttribute("fill")).toBe("#4a9ff0");
    expect(bar(el).getAttribute("stroke")).toBe("rgba(74, 159, 240, 0.5)");
    expect(labels(el)).toContain("#1f6fc4");
  });
  it("is drawn anew when its specification changes, and is empty without one", async () => {
    const { el, model } = mount(chart, state());
    await drawn(el);
    model.update({ spec: { ...SPEC, data: { values: [{ rate: 1, name: "third" }] } } });
    await vi.waitFor(() => expect(labels(el)).toContain("third"), 5000);
    expect(labels(el)).not.toContain("first");
    model.update({ spec: null });
    await vi.waitFor(() => expect(el.childElementCount).toBe(0), 5000);
  });
  it("shows the last of several specifications that come at once", async () => {
    const { el, model } = mount(chart, state({ spec: null }));
    for (const name of ["one", "two", "three"]) model.update({ spec: { ...SPEC, data: { values: [{ rate: 1, name }] } } });
    await vi.waitFor(() => expect(labels(el)).toContain("three"), 5000);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(el.querySelectorAll(".isn-vega").length).toBe(1);
    expect(labels(el)).not.toContain("one");
  });
  it("says in place that it could not be drawn, and draws the next", async () => {
    const { el, model } = mount(chart, state({ spec: { ...SPEC, mark: "no such mark" } }));
    await drawn(el);
    expect(el.querySelector("[role=alert]")!.textContent).toContain("This chart could not be drawn");
    model.update({ spec: SPEC });
    await vi.waitFor(() => expect(labels(el)).toContain("first"), 5000);
    expect(el.querySelector(".isn-error")).toBeNull();
  });
  it("takes parameters from Python and tells it of them", async () => {
    const params = [{ name: "limit", value: 1 }];
    const { el, model } = mount(chart, state({ spec: { ...SPEC, params, transform: [{ filter: "datum.rate < limit" }] }, _params: { limit: 1 } }));
    await drawn(el);
    expect(labels(el)).toContain("second");
    model.update({ _params: { limit: 0.5 } });
    await vi.waitFor(() => expect(labels(el)).not.toContain("second"), 5000);
    expect(labels(el)).toContain("first");
    expect(model.saved.at(-1)).toEqual({ _params: { limit: 0.5 } });
  });
  it("begins with the parameters of now, which may be others than those of its specification", async () => {
    const params = [{ name: "limit", value: 1 }];
    const { el } = mount(chart, state({ spec: { ...SPEC, params, transform: [{ filter: "datum.rate < limit" }] }, _params: { limit: 0.5 } }));
    await vi.waitFor(() => expect(labels(el)).toContain("first"), 5000);
    await vi.waitFor(() => expect(labels(el)).not.toContain("second"), 5000);
  });
  it("keeps its height while it is drawn anew, so that the page does not jump", async () => {
    const { el, model } = mount(chart, state());
    await drawn(el);
    Object.defineProperty(el, "offsetHeight", { value: 120, configurable: true });
    model.update({ spec: { ...SPEC, data: { values: [{ rate: 1, name: "third" }] } } });
    expect(el.style.minHeight).toBe("120px");
    await vi.waitFor(() => expect(labels(el)).toContain("third"), 5000);
    await vi.waitFor(() => expect(el.style.minHeight).toBe(""), 5000);
    model.update({ spec: { ...SPEC, mark: "point" } });
    model.update({ spec: null }); // while that is drawn
    expect(el.style.minHeight).toBe("");
  });
  it("is drawn anew when it is seen at last, or as wide as it was not, and when the page gets dark", async () => {
    let resized = () => {};
    const real = globalThis.ResizeObserver;
    globalThis.ResizeObserver = class {
      constructor(callback: () => void) {
        resized = callback;
      }
      observe() {}
      unobserve() {}
      disconnect() {}
    } as unknown as typeof ResizeObserver;
    const { el } = mount(chart, state());
    globalThis.ResizeObserver = real;
    await drawn(el); // hidden: this page has no layout, so its width is 0
    const wide = async (width: number) => {
      const before = el.querySelector(".isn-vega");
      Object.defineProperty(el, "clientWidth", { value: width, configurable: true });
      resized();
      await new Promise((resolve) => setTimeout(resolve, 250));
      await drawn(el);
      return el.querySelector(".isn-vega") !== before;
    };
    expect(await wide(500)).toBe(true);
    expect(await wide(0)).toBe(false);
    expect(await wide(502)).toBe(false);
    expect(await wide(360)).toBe(true);
    document.body.style.backgroundColor = "rgb(22, 25, 29)";
    await vi.waitFor(() => expect(el.querySelector(".isn-vega svg text")?.getAttribute("fill")).toBe("#e3e6ea"), 5000);
  });
  it("is drawn once more where its element had no width while it was drawn", async () => {
    const { el } = mount(chart, state({ spec: { ...SPEC, width: "container" } })); // without layout: as wide as nothing
    await drawn(el);
    const first = el.querySelector(".isn-vega");
    expect(Number(first!.querySelector("svg")!.getAttribute("width"))).toBe(0);
    Object.defineProperty(el, "clientWidth", { value: 500, configurable: true });
    document.body.style.backgroundColor = "rgb(22, 25, 29)"; // one more drawing, and then others of its own accord
    document.body.setAttribute("data-theme", "dark");
    const seen = new Set<Element>();
    await vi.waitFor(() => {
      seen.add(el.querySelector(".isn-vega")!);
      expect(seen.size).toBeGreaterThan(3);
    }, { timeout: 5000, interval: 20 });
    document.body.removeAttribute("data-theme");
  });
  it("is drawn once more where it was hidden for a moment that nothing tells of", async () => {
    const { el } = mount(chart, state({ spec: { ...SPEC, width: "container" } }));
    await drawn(el);
    const first = el.querySelector(".isn-vega");
    await new Promise((resolve) => setTimeout(resolve, 20)); // it was looked at, and had no width then either
    Object.defineProperty(el, "clientWidth", { value: 500, configurable: true });
    await vi.waitFor(() => expect(el.querySelector(".isn-vega")).not.toBe(first), 3000);
  });
  it("leaves nothing behind: no listener, no drawing, not even one that was on its way", async () => {
    const { el, model, close } = mount(chart, state());
    await drawn(el);
    expect(model.listening).toBeGreaterThan(0);
    model.update({ spec: { ...SPEC, mark: "point" } });
    close();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(model.listening).toBe(0);
    expect(el.childElementCount).toBe(0);
  });
});
