// Building DOM without ever parsing data as HTML: strings become text nodes.

export type Child = Node | string | number | null | undefined | false;

type Listener = (event: any) => void;

export interface Props {
  [name: string]: string | number | boolean | null | undefined | Record<string, Listener>;
  on?: Record<string, Listener>;
}

/** `h("button", {class: "isn-button", on: {click}}, "Stop")`. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props?: Props | null, ...children: Child[]): HTMLElementTagNameMap[K] {
  return fill(document.createElement(tag), props, children);
}

const SVG = "http://www.w3.org/2000/svg";

export function s<K extends keyof SVGElementTagNameMap>(tag: K, props?: Props | null, ...children: Child[]): SVGElementTagNameMap[K] {
  return fill(document.createElementNS(SVG, tag) as SVGElementTagNameMap[K], props, children);
}

function fill<E extends Element>(element: E, props: Props | null | undefined, children: Child[]): E {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value as Record<string, Listener>)) element.addEventListener(event, listener);
    } else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children: Child[]): Array<Node | string> {
  return children.filter((child) => child != null && child !== false).map((child) => (child instanceof Node ? child : String(child)));
}

export function replace(parent: Element, ...children: Child[]): void {
  parent.replaceChildren(...nodes(children));
}

/** Set the attribute, or remove it where the value is null or false. */
export function attr(element: Element, name: string, value: string | number | boolean | null | undefined): void {
  if (value == null || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
}

/** An id no other view of the page uses, for labels and descriptions. */
let counter = 0;
export function uid(stem: string): string {
  counter += 1;
  return `isn-${stem}-${counter}-${Math.random().toString(36).slice(2, 7)}`;
}

export function debounce(milliseconds: number, callback: () => void, signal: AbortSignal): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  signal.addEventListener("abort", () => clearTimeout(timer));
  return () => {
    clearTimeout(timer);
    timer = setTimeout(callback, milliseconds);
  };
}

const waiting = new WeakSet<HTMLButtonElement>();

/** A button that waits loses the focus; it gets it back afterwards, where nothing else has it by then. */
export function disable(button: HTMLButtonElement, off: boolean): void {
  if (off && focused(button) === button) waiting.add(button);
  button.disabled = off;
  if (off || !waiting.delete(button)) return;
  const now = document.activeElement; // in a shadow tree, whatever has the focus outside counts too
  if (!now || now === document.body) button.focus({ preventScroll: true });
}

/** The element with the focus, in the page or in the shadow tree (marimo's) that `near` stands in. */
export function focused(near: Node): Element | null {
  return (near.getRootNode() as Partial<DocumentOrShadowRoot>).activeElement ?? null;
}
