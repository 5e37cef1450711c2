import { afterEach, describe, expect, it, vi } from "vitest";
import { child } from "../src/lib/child.ts";
import { type Host, View } from "../src/lib/model.ts";
import { FakeModel } from "./fake.ts";

const settled = () => new Promise((resolve) => setTimeout(resolve));

/** A view with one child, the host's part of it, and the errors that the view would show. */
function setUp(host: Host | undefined, ref: string | null = "anywidget:one") {
  const model = new FakeModel({ part: ref });
  const faults: unknown[] = [];
  const view = new View({ model, el: document.createElement("div"), ...(host ? { host } : {}) }, document.createElement("div"), (error) => faults.push(error));
  return { model, view, faults, box: (below = false) => child(view, "part", "the part", below) };
}

/** Widgets that write their name; each render is told, with its signal. */
function hostOf(names: Record<string, string>) {
  const signals: AbortSignal[] = [];
  const host: Host = {
    async getWidget(ref) {
      const name = names[ref];
      if (name === undefined) throw new Error(`no model is ${ref}`);
      return {
        async render({ el, signal }) {
          signals.push(signal!);
          el.append(name);
        },
      };
    },
  };
  return { host, signals };
}

afterEach(() => vi.restoreAllMocks());

describe("a widget inside a widget", () => {
  it("is loading until it has drawn itself", async () => {
    const box = setUp(hostOf({ "anywidget:one": "first" }).host).box();
    expect(box.textContent).toBe("Loading the part\u2026");
    await settled();
    expect(box.textContent).toBe("first");
  });
  it("further down is drawn once what is above it is painted, also where nothing paints", async () => {
    for (const paints of [true, false]) {
      const frames: FrameRequestCallback[] = [];
      vi.spyOn(globalThis, "requestAnimationFrame").mockImplementation((frame) => frames.push(frame));
      const { host, signals } = hostOf({ "anywidget:one": "first" });
      const box = setUp(host).box(true);
      await settled();
      expect(signals.length).toBe(0);
      if (paints) for (const frame of frames) frame(0);
      await vi.waitFor(() => expect(box.textContent).toBe("first"));
      await new Promise((resolve) => setTimeout(resolve, 250));
      expect(signals.length).toBe(1); // once
    }
  });
  it("is replaced by the next, which ends the one before", async () => {
    const { host, signals } = hostOf({ "anywidget:one": "first", "anywidget:two": "second" });
    const { model, box: make } = setUp(host);
    const box = make();
    await settled();
    model.update({ part: "anywidget:two" });
    await settled();
    expect(box.textContent).toBe("second");
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
    model.update({ part: "anywidget:two" }); // the same again is not drawn again
    await settled();
    expect(signals.length).toBe(2);
    model.update({ part: null });
    expect(box.childElementCount).toBe(0);
    expect(signals[1]!.aborted).toBe(true);
  });
  it("ends with the view it is in", async () => {
    const { host, signals } = hostOf({ "anywidget:one": "first" });
    const { view, box } = setUp(host);
    box();
    await settled();
    view.close();
    expect(signals[0]!.aborted).toBe(true);
  });
  it("says why it could not be shown, and what to do", async () => {
    const { box: make, faults } = setUp(hostOf({}).host);
    const box = make();
    await settled();
    expect(box.querySelector("[role=alert]")!.textContent).toContain("the part could not be shown: no model is anywidget:one");
    expect(box.textContent).toContain("Run the cell again.");
    expect(box.textContent).not.toContain("Loading");
    expect(faults).toEqual([]);
  });
  it("says nothing of a failure that came after it was replaced", async () => {
    let fail: (error: Error) => void = () => undefined;
    const host: Host = { getWidget: (ref) => (ref === "anywidget:one" ? new Promise((_, reject) => (fail = reject)) : hostOf({ "anywidget:two": "second" }).host.getWidget(ref)) };
    const { model, box: make } = setUp(host);
    const box = make();
    model.update({ part: "anywidget:two" });
    fail(new Error("too late"));
    await settled();
    expect(box.textContent).toBe("second");
  });
  it("needs a viewer that can, and asks for none where there is no child", () => {
    expect(() => setUp(undefined).box()).toThrow("anywidget 0.11 or later can");
    const { model, faults, box } = setUp(undefined, null);
    expect(box().childElementCount).toBe(0);
    model.update({ part: "anywidget:one" });
    expect(String(faults[0])).toContain("cannot show widgets inside widgets");
  });
});
