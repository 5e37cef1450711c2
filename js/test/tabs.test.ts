// Several prompts, kept as tabs of the token picker.
import { describe, expect, it } from "vitest";
import pickerModule from "../src/token_picker.ts";
import { key, mount } from "./fake.ts";

const tabs = [
  { text: "4 3 7 + 5 6 9 =", position: -1 },
  { text: "a prompt that is longer than a tab is\nwide", position: 2 },
];
const state = (more = {}) => ({ text: tabs[0]!.text, tokens: ["4"], position: -1, values: null, examples: [], editable: true, error: null, tabs, tab: 0, ...more });

describe("the tabs of a TokenPicker", () => {
  it("are there once there are two prompts, and show how each ends", () => {
    const { model, all, one } = mount(pickerModule, state({ tabs: tabs.slice(0, 1) }));
    expect(one(".isn-tab-row").hidden).toBe(true);
    model.update({ tabs });
    expect(one(".isn-tab-row").hidden).toBe(false);
    expect(all("[role=tab]").map((tab) => tab.textContent)).toEqual(["4 3 7 + 5 6 9 =", "\u2026ger than a tab is wide"]);
    expect(all("[role=tab]").map((tab) => tab.getAttribute("aria-selected"))).toEqual(["true", "false"]);
    expect(all("[role=tab]")[1]!.title).toBe(tabs[1]!.text);
  });
  it("are chosen with the mouse or the keyboard", () => {
    const { model, all } = mount(pickerModule, state());
    all("[role=tab]")[1]!.click();
    expect(model.state["tab"]).toBe(1);
    all("[role=tab]")[1]!.focus();
    key(document.activeElement!, "ArrowRight");
    expect(document.activeElement).toBe(all("[role=tab]")[0]);
    expect(all("[role=tab]").map((tab) => tab.tabIndex)).toEqual([-1, 0]);
    key(document.activeElement!, "Delete");
    expect(model.last("close tab").params).toEqual({ tab: 0 });
  });
  it("a new one begins with the prompt shown, ready to be typed over", async () => {
    const { model, all, one } = mount(pickerModule, state());
    const area = one("textarea") as HTMLTextAreaElement;
    all("button").find((button) => button.textContent === "+ tab")!.click();
    await model.answer(model.last("open tab"), null);
    expect(document.activeElement).toBe(area);
    expect([area.selectionStart, area.selectionEnd]).toEqual([0, area.value.length]);
    one('button[aria-label="Close this tab"]').click();
    expect(model.last("close tab").params).toEqual({ tab: 0 });
  });
  it("are not offered where the prompt cannot be edited, nor by a picker that has none", () => {
    expect(mount(pickerModule, state({ editable: false })).one(".isn-tab-row").hidden).toBe(true);
    const bare = mount(pickerModule, { text: "a", tokens: ["a"], position: 0, examples: [], editable: true, error: null });
    expect(bare.one(".isn-tab-row").hidden).toBe(true);
    expect(bare.all("button").find((button) => button.textContent === "+ tab")!.hidden).toBe(true);
  });
});
