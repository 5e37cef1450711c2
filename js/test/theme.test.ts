import { afterEach, describe, expect, it, vi } from "vitest";
import { focused } from "../src/lib/dom.ts";
import { followTheme, isDark } from "../src/lib/theme.ts";

const DARK = "rgb(22, 25, 29)";
const LIGHT = "rgb(255, 255, 255)";

/** An element in a page of that colour, inside a box of its own colour. */
function place(page: string, box = ""): HTMLElement {
  document.body.style.backgroundColor = page;
  const outer = document.createElement("div");
  outer.style.backgroundColor = box;
  const element = document.createElement("div");
  outer.append(element);
  document.body.replaceChildren(outer);
  return element;
}

/** The operating system's wish, and what tells of a change of it. */
function system(dark: boolean): { change(): void; listening: number } {
  const listeners = new Set<() => void>();
  vi.stubGlobal("matchMedia", () => ({ matches: dark, addEventListener: (_: string, f: () => void) => listeners.add(f), removeEventListener: (_: string, f: () => void) => listeners.delete(f) }));
  return {
    change: () => listeners.forEach((listener) => listener()),
    get listening() {
      return listeners.size;
    },
  };
}

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  document.body.removeAttribute("style");
  document.body.replaceChildren();
});

describe("light or dark", () => {
  it("is read off the nearest colour behind the element", () => {
    expect(isDark(place(DARK))).toBe(true);
    expect(isDark(place(DARK, LIGHT))).toBe(false);
    expect(isDark(place(LIGHT, DARK))).toBe(true);
  });
  it("weighs the colours as the eye does", () => {
    expect(isDark(place("rgb(0, 0, 255)"))).toBe(true);
    expect(isDark(place("rgb(0, 200, 0)"))).toBe(false);
  });
  it("sees through what is nearly transparent", () => {
    expect(isDark(place(DARK, "rgba(255, 255, 255, 0.4)"))).toBe(true);
    expect(isDark(place(DARK, "rgba(255, 255, 255, 0.6)"))).toBe(false);
  });
  it("looks out of a shadow tree, as marimo puts widgets into one", () => {
    system(false);
    const inside = document.createElement("div");
    place(DARK).attachShadow({ mode: "open" }).append(inside);
    expect(isDark(inside)).toBe(true);
  });
  it("is the operating system's where the page has no colour", () => {
    system(true);
    expect(isDark(place(""))).toBe(true);
    system(false);
    expect(isDark(place(""))).toBe(false);
  });
});

describe("a view's theme", () => {
  it("follows the page, also where its style sheet comes later than the attribute", async () => {
    vi.useFakeTimers();
    const root = place(LIGHT);
    const end = followTheme(root);
    expect(root.dataset["isnTheme"]).toBe("light");
    document.body.setAttribute("data-jp-theme-name", "JupyterLab Dark");
    await vi.advanceTimersByTimeAsync(10);
    expect(root.dataset["isnTheme"]).toBe("light");
    root.parentElement!.style.backgroundColor = DARK; // no attribute that is watched
    await vi.advanceTimersByTimeAsync(1000);
    expect(root.dataset["isnTheme"]).toBe("dark");
    end();
  });
  it("follows the operating system, and stops with the view", () => {
    const os = system(false);
    const root = place("");
    const end = followTheme(root);
    system(true);
    os.change();
    expect(root.dataset["isnTheme"]).toBe("dark");
    expect(os.listening).toBe(1);
    end();
    expect(os.listening).toBe(0);
  });
});

describe("the focus", () => {
  it("is found in a shadow tree, in the page, and nowhere outside of both", () => {
    const [inside, apart] = [document.createElement("button"), document.createElement("button")];
    const holder = place(LIGHT);
    holder.attachShadow({ mode: "open" }).append(inside);
    inside.focus();
    expect(focused(inside)).toBe(inside);
    expect(focused(apart)).toBeNull();
    document.body.append(apart);
    apart.focus();
    expect(focused(apart)).toBe(apart);
  });
});
