import { describe, expect, it } from "vitest";
import { pieces, spoken } from "../src/lib/glyphs.ts";
import { csv, svgText, titled } from "../src/lib/download.ts";
import { histogram } from "../src/lib/histogram.ts";
import { framed } from "../src/lib/more_right.ts";
import { duration } from "../src/lib/progress.ts";
import { EVERYTHING, select } from "../src/lib/rows.ts";
import { columns, gridColumns, rowView } from "../src/lib/sample_row.ts";
import { niceMax, number, percent, scaleKey, shade, signed, tokenText } from "../src/lib/shade.ts";
import { stateKey } from "../src/lib/states.ts";
import { whereOf } from "../src/lib/summary.ts";
import { bandwidthAt, stepOf } from "../src/scope.ts";
import { row } from "./fake.ts";
import cases from "./glyphs.json";

const shown = (token: string) => pieces(token).map(({ text }) => text).join("|");

describe("glyphs", () => {
  it.each(cases as Array<[string, string[]]>)("shows %j as %j, as Python does", (token, expected) => {
    expect(pieces(token).map(({ text }) => text)).toEqual(expected);
  });
  it("shows half of a character as its code", () => expect(shown("\ud83d")).toBe("U+D83D"));
  it("can be read aloud", () => expect(spoken(" the\n")).toBe("space the new line"));
  it("never becomes markup", () => {
    const holder = document.createElement("p");
    holder.append(...(tokenText("<img src=x onerror=alert(1)>") as Node[]));
    expect(holder.querySelector("img")).toBeNull();
    expect(holder.textContent).toContain("<img");
  });
});

describe("shading", () => {
  it("says sign by class, size by a number that drives colour and underline", () => {
    const element = document.createElement("span");
    shade(element, -1, 2);
    expect(element.classList.contains("isn-negative")).toBe(true);
    expect(element.style.getPropertyValue("--isn-v")).toBe("0.500");
    shade(element, null, 2);
    expect(element.classList.contains("isn-shaded")).toBe(false);
  });
  it("prints its scale in the unit, negative to positive", () => {
    const key = scaleKey(2, "pinned", "bits", true);
    expect(key.textContent).toBe("pinned\u22122.0\u22121.00.0+1.0+2.0bits");
  });
  it("says so where values lie beyond its ends", () => {
    expect(scaleKey(2, "", "bits", true, true).textContent).toBe("\u2264\u202f\u22122.0\u22121.00.0+1.0\u2265\u202f+2.0bits");
    expect(scaleKey(2, "", "bits", false, true).textContent).toBe("0.01.0\u2265\u202f2.0bits");
  });
  it("rounds the top of a scale up to something that reads well", () => {
    expect(niceMax([0.3, -1.7, null])).toBe(2);
    expect(niceMax([])).toBe(1);
  });
  it("formats numbers", () => {
    expect([number(1579.4), number(-12345.6), number(2.5e7)]).toEqual(["1579", "\u221212346", "2.50e+7"]);
    expect([number(-1.234), number(null), signed(0.5), percent(0.126), duration(600)]).toEqual(["\u22121.23", "\u2013", "+0.50", "13\u202f%", "about 10 min"]);
  });
});

describe("bandwidth", () => {
  it("runs from 0.02 to 1 on a logarithmic scale and back", () => {
    expect(bandwidthAt(0)).toBe(0.02);
    expect(bandwidthAt(200)).toBe(1);
    for (const step of [0, 37, 100, 199]) expect(bandwidthAt(stepOf(bandwidthAt(step)))).toBe(bandwidthAt(step));
  });
});

describe("histogram", () => {
  const words = (svg: Element) => [...svg.querySelectorAll("text")].map((text) => text.textContent!);
  const bins = { edges: [0, 1, 2, 3], posterior: [0.75, 0, 0.25], prior: [0, 0.5, 0.5], weighed: true };

  it("fills the bars inside the ball, outlines those beyond, and marks the edge", () => {
    const svg = histogram({ ...bins, prior: null }, 1.5);
    expect(svg.querySelectorAll("rect.isn-bar").length).toBe(4); // two bars, and the key's
    expect(svg.querySelectorAll(".isn-bar-out").length).toBe(2);
    expect(words(svg)).toContain("beyond the edge");
    expect(words(histogram({ ...bins, prior: null }, 3))).not.toContain("beyond the edge");
    expect(histogram({ ...bins, prior: null }, 0).querySelectorAll(".isn-bar-out").length).toBe(2); // not the first, and the key's
    expect(svg.querySelector(".isn-ball-label")?.textContent).toContain("1.50");
    expect([...svg.querySelectorAll("rect title")].map((title) => title.textContent)).toEqual([
      "75.0\u202f% of the posterior at distance 0.000 to 1.000",
      "25.0\u202f% of the posterior at distance 2.000 or more",
    ]);
    expect(svg.querySelector(".isn-prior-steps")).toBeNull();
  });
  it("labels its axis with as many digits as the steps have", () => {
    const fine = (high: number) => ({ ...bins, edges: [0, 0.5, 0.75, 0.9, 1].map((edge) => edge * high), posterior: [1, 0, 0, 0], prior: null });
    const labels = (high: number) => words(histogram(fine(high), null)).filter((text) => /^[0-9.]+$/.test(text));
    expect(labels(1)).toEqual(["0.00", "0.25", "0.50", "0.75"]);
    expect(labels(0.1)).toEqual(["0.000", "0.025", "0.050", "0.075"]);
    expect(labels(4)).toEqual(["0", "1", "2", "3"]);
  });
  it("says of its last bin that it holds all beyond it too, and no tick stands in it", () => {
    const labels = (edges: number[]) => words(histogram({ ...bins, edges }, null)).filter((text) => /^[\u2265\d]/.test(text) && !text.endsWith("%"));
    expect(labels([0, 1, 2, 3])).toEqual(["0", "1", "\u2265\u202f2.00"]);
    expect(labels([0, 0.1, 0.2, 0.3067])).toEqual(["0.0", "0.1", "\u2265\u202f0.200"]);
  });
  it("has an axis of shares, which says what they are of", () => {
    const shares = (svg: Element) => words(svg).filter((text) => text.endsWith("\u202f%"));
    expect(shares(histogram(bins, 1.5))).toEqual(["0\u202f%", "20\u202f%", "40\u202f%", "60\u202f%"]);
    expect(words(histogram(bins, 1.5))).toContain("share of weight");
    expect(words(histogram({ ...bins, weighed: false }, 1.5))).toContain("share of samples");
  });
  it("says so where no sample has any weight", () => {
    const svg = histogram({ ...bins, weighed: false }, null);
    expect(svg.textContent).not.toContain("posterior");
    expect(svg.getAttribute("aria-label")).toContain("samples, unweighted");
  });
  it("draws what P(X) alone would have given on the same axes, with a key", () => {
    const svg = histogram(bins, 1.5);
    const [steps] = [...svg.querySelectorAll("path.isn-prior-steps")].map((path) => path.getAttribute("d")!);
    const bar = [...svg.querySelectorAll("rect.isn-bar")].find((rect) => rect.querySelector("title"))!;
    const height = (share: number) => Number(bar.getAttribute("height")) * (share / 0.75);
    const base = Number(bar.getAttribute("y")) + Number(bar.getAttribute("height"));
    expect(steps).toContain(`V${(base - height(0.5)).toFixed(1)}`); // half of it, by the bars' own scale
    expect(svg.textContent).toContain("P(X) alone");
    expect(svg.getAttribute("aria-label")).toContain("drawn from P(X) alone");
  });
});

describe("rows of a saved page", () => {
  const rows = [row(0), row(1, { weight: 0.9 }), row(2)];
  const ask = (query: Partial<typeof EVERYTHING>, size = 50) => select(rows, { ...EVERYTHING, ...query }, 0, size);

  it("are filtered, sorted and paged like Python's", () => {
    expect(ask({ sort: "weight" }, 2).rows.map((r) => r.rank)).toEqual([1, 0]);
    expect(ask({ text: "NAME2" }).matching).toBe(1);
    expect(ask({ text: "name[12]$", regex: true }).rows.map((r) => r.rank)).toEqual([1, 2]);
    expect(ask({ text: "NAME2", regex: true }).matching).toBe(0);
    expect(ask({ inside: true }).rows.map((r) => r.rank)).toEqual([0, 1]);
    expect(() => ask({ text: "(", regex: true })).toThrow();
  });
});

describe("a row under the picked input", () => {
  const style = { max: 2, unit: "bits", layout: "aligned" as const, tokens: ["<bos>", "When", " Mary"], columns: [5, 4, 6], exact: true };
  const cells = (extra: Record<string, unknown>) => [...rowView(row(0, extra), style, null).element.querySelectorAll(".isn-slots > :not(.isn-badge)")].map((cell) => cell.textContent);

  it("puts each token where it belongs, what is more with the next, and a dash where there is none", () => {
    expect(cells({})).toEqual(["<bos>", "When", "\u00b7name0"]);
    expect(cells({ tokens: ["<bos>", "So", "When", " Eve"], info: [0, 0, 0, 0], at: [0, null, 1, 2] })).toEqual(["<bos>", "SoWhen", "\u00b7Eve"]);
    expect(cells({ tokens: ["<bos>", " Eve"], info: [0, 0], at: [0, 2] })).toEqual(["<bos>", "\u2013nothing", "\u00b7Eve"]);
  });
  it("marks the tokens that are not the picked input's", () => {
    const changed = [...rowView(row(0), style, null).element.querySelectorAll(".isn-changed")].map((token) => token.textContent);
    expect(changed).toEqual(["\u00b7name0"]);
  });
  it("makes every column as wide as what stands in it", () => {
    const wide = columns([row(0, { tokens: ["<bos>", "Nevertheless, then", " x"] })], style.tokens);
    expect(wide).toEqual([5, 12, 5]);
    expect(gridColumns(wide)).toBe("7.7ch 14.7ch 7.7ch");
  });
  it("puts a box around a token only where it is too long for its column, or not alone there", () => {
    const boxes = (extra: Record<string, unknown>) => rowView(row(0, extra), style, null).element.querySelectorAll(".isn-slot").length;
    expect(boxes({})).toBe(0);
    expect(boxes({ tokens: ["<bos>", "Nevertheless", " x"] })).toBe(1);
    expect(boxes({ tokens: ["<bos>", "So", "When", " Eve"], info: [0, 0, 0, 0], at: [0, null, 1, 2] })).toBe(1);
  });
});

describe("a box that is wider than its place", () => {
  it("is shaded at the right until it is scrolled there", () => {
    const box = document.createElement("div");
    const { frame, look } = framed(box, new AbortController().signal);
    Object.defineProperties(box, { scrollWidth: { value: 300 }, clientWidth: { value: 100 } });
    look();
    expect(frame.classList.contains("isn-more-right")).toBe(true);
    box.scrollLeft = 200;
    box.dispatchEvent(new Event("scroll"));
    expect(frame.classList.contains("isn-more-right")).toBe(false);
  });
});

describe("files", () => {
  it("are CSV in which nothing is a formula and quotes are doubled", () => {
    const table = csv(["a", "b"], [["=1+1", 'say "x", y'], ["-x", -1], [null, "line\nbreak"], ["@a", true]]);
    expect(table).toBe('a,b\r\n\'=1+1,"say ""x"", y"\r\n\'-x,-1\r\n,"line\nbreak"\r\n\'@a,true\r\n');
  });
  it("are pictures that stand alone", () => {
    const svg = histogram({ edges: [0, 1], posterior: [1], prior: null, weighed: true }, null);
    document.body.append(svg);
    const text = svgText(svg);
    expect(text).toContain('xmlns="http://www.w3.org/2000/svg"');
    expect(text).not.toContain("class=");
    expect(svg.getAttribute("class")).toBe("isn-histogram"); // the one on the page stays
  });
  it("are pictures with a title above them, in lines that fit", () => {
    const ink = document.createElement("p");
    document.body.append(ink);
    const plain = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 100" width="400" height="200"><rect width="9" height="9"/></svg>';
    const words = "blocks.2.hook_resid_post, \u03b5\u00a0=\u00a00.1: \u201c\u2026<b>gave a drink to\u201d\nand a line";
    const box = document.createElement("div");
    box.innerHTML = titled(plain, words, ink);
    const svg = box.querySelector("svg")!;
    const lines = [...svg.querySelectorAll("text")].map((line) => line.textContent!);
    expect(lines.length).toBe(3);
    expect(lines.join(" ")).toBe(words.replace("\n", " "));
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(36);
    const [, top, , height] = svg.getAttribute("viewBox")!.split(" ").map(Number);
    expect(top! + height!).toBe(100); // the picture stays where it was
    expect(Number(svg.getAttribute("height"))).toBe(2 * height!);
    for (const line of svg.querySelectorAll("text")) expect(Number(line.getAttribute("y"))).toBeLessThan(0);
    expect(titled(plain, "", ink)).toBe(plain);
  });
  it("name site, bandwidth, the end of a prompt and the verdict", () => {
    const at = { site: "blocks.0.hook_resid_post", bandwidth: 0.1, verdict_words: "Few effective samples.", verdict_reason: "3 of 64." };
    expect(whereOf({ ...at, text: "When Mary" })).toBe("blocks.0.hook_resid_post, \u03b5\u00a0=\u00a00.1: \u201cWhen Mary\u201d. Few effective samples. 3 of 64.");
    expect(whereOf({ ...at, text: `${"x".repeat(90)} to` })).toMatch(/\u201c\u2026x+ to\u201d\./);
    expect(whereOf({ ...at, text: "After Albert and Nathan went to the studio , Nathan gave the box to" })).toContain("\u201c\u2026went to the studio , Nathan gave the box to\u201d");
  });
});

describe("the key of what becomes of tokens", () => {
  it("has those that there are, each with what it means", () => {
    const key = stateKey(["", "pinned", "free", "free"])!;
    const parts = [...key.querySelectorAll<HTMLElement>(".isn-state-key")];
    expect(parts.map((part) => part.textContent)).toEqual(["\u25a0 fixed", "\u25a1 free"]);
    expect(parts[1]!.title).toContain("shaded all the same");
    expect(stateKey(["", "unknown"])).toBeNull();
  });
});
