// Words on a picture that can be read on what lies below: their halo is a text of its own, since `paint-order` is lost
// in a file.
import { type Props, s } from "./dom.ts";

/** The halo, then the words. */
export function haloed(words: string, at: Props, look: string): SVGTextElement[] {
  return [s("text", { ...at, class: "isn-tick isn-halo", "aria-hidden": "true" }, words), s("text", { ...at, class: `isn-tick ${look}` }, words)];
}
