// Light or dark is read off the page itself (the colour behind the widget), since JupyterLab, VS Code and
// Colab each switch themes in a way of their own and need not agree with the operating system.

/** Red, green, blue (0 to 255) and opacity of a colour; null where the browser cannot say. */
function channels(colour: string): number[] | null {
  if (colour.startsWith("rgb")) return colour.match(/[\d.]+/g)?.map(Number) ?? null;
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true }); // oklch(), color(): marimo's
  if (!context) return null;
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue, alpha] = context.getImageData(0, 0, 1, 1).data;
  return [red!, green!, blue!, alpha! / 255];
}

function behind(element: Element): [number, number, number] | null {
  for (let node: Element | undefined = element; node; node = node.parentElement ?? (node.getRootNode() as Partial<ShadowRoot>).host) {
    const parts = channels(getComputedStyle(node).backgroundColor);
    if (parts && parts.length >= 3 && (parts[3] ?? 1) > 0.5) return [parts[0]!, parts[1]!, parts[2]!];
  }
  return null;
}

export function isDark(element: Element): boolean {
  const colour = behind(element);
  if (!colour) return matchMedia("(prefers-color-scheme: dark)").matches;
  const [red, green, blue] = colour;
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 128;
}

/** Calls back when the page's theme may have changed, for as long as the view lives; returns what ends it. */
export function watchTheme(update: () => void): () => void {
  // Themes are style sheets that arrive after the attribute changes: look again a little later.
  let timer: ReturnType<typeof setTimeout> | undefined;
  const later = () => {
    update();
    clearTimeout(timer);
    timer = setTimeout(update, 400);
  };
  const observer = new MutationObserver(later);
  const attributes = { attributes: true, attributeFilter: ["class", "style", "data-jp-theme-light", "data-jp-theme-name", "theme", "data-theme"] };
  observer.observe(document.documentElement, attributes);
  if (document.body) observer.observe(document.body, attributes);
  const media = typeof matchMedia === "function" ? matchMedia("(prefers-color-scheme: dark)") : null;
  media?.addEventListener?.("change", later);
  // The view is often rendered before it is attached to the page.
  const frame = requestAnimationFrame(later);
  return () => {
    observer.disconnect();
    media?.removeEventListener?.("change", later);
    cancelAnimationFrame(frame);
    clearTimeout(timer);
  };
}

/** Keep `data-isn-theme` right for as long as the view lives; returns what ends it. */
export function followTheme(root: HTMLElement): () => void {
  const update = () => {
    root.dataset["isnTheme"] = isDark(root.parentElement ?? root) ? "dark" : "light";
  };
  update();
  return watchTheme(update);
}
