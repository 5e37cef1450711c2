// The button that copies Python.
import { afterEach, describe, expect, it, vi } from "vitest";
import scopeModule from "../src/scope.ts";
import { mount } from "./fake.ts";

describe("Copy as Python", () => {
  const clipboard = (writeText: (text: string) => Promise<void>) => Object.defineProperty(navigator, "clipboard", { value: { writeText }, configurable: true });
  const state = { code: "isn.invert(lm, gen, 'x')", model_name: "m", site: "s", bandwidth: 0.1, bandwidth_range: [0.02, 1] };
  const host = { getWidget: () => Promise.reject(new Error("none")), getModel: () => Promise.reject(new Error("none")) } as never;
  const button = () => document.querySelector<HTMLButtonElement>(".isn-code button")!;
  afterEach(() => Reflect.deleteProperty(navigator, "clipboard"));

  it("copies what is shown, and says so for a moment", async () => {
    vi.useFakeTimers();
    const copied: string[] = [];
    clipboard(async (text) => void copied.push(text));
    const { model } = mount(scopeModule, state, host);
    model.update({ code: "isn.invert(lm, gen, 'y')" });
    button().click();
    await vi.advanceTimersByTimeAsync(0);
    expect(copied).toEqual(["isn.invert(lm, gen, 'y')"]);
    expect(button().textContent).toBe("Copied");
    await vi.advanceTimersByTimeAsync(2100);
    expect(button().textContent).toBe("Copy");
    vi.useRealTimers();
  });
  it("selects it where the page may not copy", async () => {
    clipboard(() => Promise.reject(new Error("not allowed")));
    mount(scopeModule, state, host);
    button().click();
    await vi.waitFor(() => expect(button().textContent).toBe("Selected: press Ctrl+C"));
    expect(getSelection()?.toString()).toBe(state.code);
  });
  it("is not there where there is nothing to copy", () => {
    mount(scopeModule, { ...state, code: "" }, host);
    expect(document.querySelector<HTMLElement>(".isn-code")!.hidden).toBe(true);
  });
});
