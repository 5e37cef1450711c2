// Files that the browser saves: tables as CSV, pictures as SVG or PNG. Nothing leaves the page.
import { h, s } from "./dom.ts";

export function save(name: string, type: string, content: BlobPart): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = h("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** One cell of a CSV file; a spreadsheet would run what begins like a formula, so that gets an apostrophe. */
function cell(value: unknown): string {
  if (value == null) return "";
  const text = typeof value === "number" ? String(value) : /^[=+\-@\t\r]/.test(String(value)) ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A table as CSV (RFC 4180), with a line of names. */
export function csv(columns: string[], rows: unknown[][]): string {
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

const PAINT = ["fill", "fill-opacity", "stroke", "stroke-opacity", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "font-size", "font-family", "font-weight", "text-anchor"];

/** The text of a picture that stands alone: what style sheets gave it is written into it, on the page's background. */
export function svgText(svg: SVGSVGElement): string {
  const copy = svg.cloneNode(true) as SVGSVGElement;
  const from = [svg, ...svg.querySelectorAll("*")];
  const to = [copy, ...copy.querySelectorAll("*")];
  from.forEach((element, index) => {
    const style = getComputedStyle(element);
    for (const name of PAINT) {
      const value = style.getPropertyValue(name);
      if (value) to[index]!.setAttribute(name, value);
    }
    to[index]!.removeAttribute("class");
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const box = svg.viewBox?.baseVal;
  if (box?.width) {
    copy.setAttribute("width", String(box.width));
    copy.setAttribute("height", String(box.height));
  }
  copy.style.background = background(svg);
  return new XMLSerializer().serializeToString(copy);
}

const TITLE = 10;
const LEADING = 13;

/** Words in lines that fit; a letter is taken to be about half as wide as it is high. */
function wrapped(words: string, width: number): string[] {
  const most = Math.max(12, Math.floor(width / (0.52 * TITLE)));
  const lines = [""];
  for (const word of words.split(" ")) {
    const last = lines.at(-1)!;
    if (last && last.length + 1 + word.length > most) lines.push(word);
    else lines[lines.length - 1] = last ? `${last} ${word}` : word;
  }
  return lines;
}

/** A picture that stands alone with words above it, in the ink of an element; the same picture without any. */
export function titled(svg: string, words: string, ink: Element): string {
  if (!words) return svg;
  const root = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
  const [left, top, width, height] = (root.getAttribute("viewBox") ?? "").split(/[ ,]+/).map(Number);
  if (width === undefined || height === undefined) return svg;
  const lines = words.split("\n").flatMap((line) => wrapped(line, width - 8));
  const more = lines.length * LEADING + 5;
  const scale = Number(root.getAttribute("height")) / height || 1;
  root.setAttribute("viewBox", `${left} ${top! - more} ${width} ${height + more}`);
  root.setAttribute("height", String((height + more) * scale));
  const { color, fontFamily } = getComputedStyle(ink);
  lines.forEach((line, index) => {
    root.append(s("text", { x: left! + 4, y: top! - more + (index + 1) * LEADING - 2, fill: color, "font-size": TITLE, "font-family": fontFamily || "sans-serif" }, line));
  });
  return new XMLSerializer().serializeToString(root);
}

/** The colour behind an element. */
export function background(element: Element): string {
  for (let at: Element | null = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (colour && colour !== "transparent" && !/^rgba\(.*, 0\)$/.test(colour)) return colour;
  }
  return "white";
}

/** An SVG picture drawn as PNG, so many pixels to one of its own. */
export async function pngOf(svg: string, scale = 3): Promise<Blob> {
  const image = new Image();
  const url = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  try {
    image.src = url;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = Math.ceil(image.naturalWidth * scale);
    canvas.height = Math.ceil(image.naturalHeight * scale);
    canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("this browser draws no PNG"))), "image/png"));
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** "SVG" and "PNG" buttons for a picture; `name` of its files and `text`, its SVG, are asked for when one is clicked. */
export function pictureButtons(name: () => string, text: () => Promise<string>, fail: (error: unknown) => void): HTMLElement {
  const button = (label: string, act: () => Promise<void>) => h("button", { type: "button", class: "isn-link", "aria-label": `Save the picture as ${label}`, on: { click: () => act().catch(fail) } }, label);
  return h(
    "div",
    { class: "isn-downloads" },
    button("SVG", async () => save(`${name()}.svg`, "image/svg+xml", await text())),
    button("PNG", async () => save(`${name()}.png`, "image/png", await pngOf(await text()))),
  );
}
